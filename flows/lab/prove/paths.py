"""Every way by which personal data gets into a deployment, or moves within it: a table, a line each.

A way sends values of people who are sent by no other, and returns how much arrived: what the state says,
not what was sent. A way of which nothing arrived was not walked, and the proof does not hold.

Of what is sent, every value is one that is recognised: as a trait or a property under a listed heading, or by
itself. A name under a heading that nobody listed is not among them, for it cannot be told from a product's
(docs/privacy.md).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from flows.lab.prove import ways_in, ways_of_others, ways_within
from flows.lab.prove.personal_values import Person
from flows.lab.prove.scratch import Scratch


class Way(NamedTuple):
    """`walk` sends the values of `people` people, and returns how much of it arrived. `kafka`: only where
    there is a broker."""

    name: str
    walk: Callable[[Scratch, list[Person]], int]
    people: int = 2
    kafka: bool = False


WAYS: Final[tuple[Way, ...]] = (
    Way("HTTP, one message", ways_in.http_single),
    Way("HTTP, a batch", ways_in.http_batch),
    Way("HTTP, other dialects", ways_in.dialects),
    Way("HTTP, personal user ids", ways_in.user_ids),
    Way("HTTP, alias, group and screen", ways_in.aliases_and_groups),
    Way("HTTP, CloudEvents", ways_in.cloud_events),
    Way("HTTP, profiles asked for", ways_in.readings),
    Way("consents", ways_in.consents),
    Way("rejects", ways_in.rejects),
    Way("rejects by the tracking plan", ways_in.plan_rejects),
    Way("rejects sent again", ways_in.replays),
    Way("a topic of Kafka", ways_in.topics, kafka=True),
    Way("files imported", ways_in.imports, 3),
    Way("matching and reviews", ways_within.matching, 4),
    Way("orders of stewards", ways_within.stewards),
    Way("events that are tried out", ways_within.tried_out),
    Way("triggers", ways_within.triggers),
    Way("deliveries that fail, and are sent again", ways_within.dead_deliveries),
    Way("rights of customers", ways_within.erasures),
    Way("rights of customers, over HTTP", ways_of_others.rights),
    Way("requests of controllers (OpenDSR)", ways_of_others.opendsr),
    Way("regulations", ways_of_others.regulations),
    Way("the privacy centre", ways_within.centre),
    Way("another key for all that is sealed", ways_within.rotations, people=0),
    Way("a rebuild from the archive", ways_within.rebuilds, people=0),
)
