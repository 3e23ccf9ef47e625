"""The HTTP edge: events come in, profiles and schemas are read.

app.py          the table of routes; `build` makes the ASGI application
intake.py       what all the ways in share: the body, the key, the rate, the log
server.py, connection.py    the socket; bounds of a connection, upgrades that are ignored
gzipped.py, salvage.py, turns.py    unpacking; a batch that is no JSON as a whole; long work in short turns
door.py         what would be refused behind it is refused here
messages.py     one Segment message → one `RawEvent` (pure)
segment.py, cloudevents.py    the two ways in
dialects.py     what the clients of Jitsu and RudderStack ask for besides
subject_routes.py    what customers ask of their own data
regulation_routes.py, opendsr_routes.py    what other systems ask about them, in two dialects
profiles.py, registry.py, health.py    what can be read
refusals.py     every error that a request can be answered with
tokens.py, limits.py    who may read, and how often in vain; the token bucket
cors.py         web pages of other origins
standing.py     what it is told of what runs behind it
"""

from connectors.gateway.app import build
from connectors.gateway.door import Door
from connectors.gateway.server import server
from connectors.gateway.standing import Standing
from connectors.gateway.subject_routes import Receipt
from connectors.listening import listen

__all__ = ["Door", "Receipt", "Standing", "build", "listen", "server"]
