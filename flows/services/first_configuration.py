"""A short configuration to begin with, every line explained. All other options have their defaults."""

import secrets
from pathlib import Path

from schemas.errors import Unusable

TEXT = """\
# A millrace deployment. `millrace check {name}` says what is active, `millrace run -c {name}` starts it.
# All options: docs/configuration.md, with examples in deploy/millrace.toml.

name = "shop"  # of the deployment; its data carries it

[data]
folder = "./data"  # all that must last, beside this file; \
keys.json in it is needed to read anything: keep a copy

[gateway]
listen = "127.0.0.1:8080"
read_tokens = ["{token}"]  # who may read profiles

# One for each source of events; `source` is the channel that profiles and rules see.
[[gateway.write_keys]]
key = "{key}"
source = "web"

# A figure kept for each customer; expressions use it by name.
[[aggregate]]
name = "orders"
of = "count"
on = ["Order Completed"]

# On while `when` holds: `"regular" in tags` in other expressions.
[[tag]]
name = "regular"
when = "orders >= 3"

# What is sent: when, and where to.
[[trigger]]
name = "thank_you"
on = {{event = "Order Completed"}}
when = "properties.total >= 100"
cooldown = "1d"  # for each customer
to = ["file"]

[[connector]]
name = "file"
type = "file"
path = "triggers.jsonl"  # in the data folder, one a line
"""


def init(path: Path) -> None:
    """Write it to a file, with keys of its own. Raises `Unusable` where there is one."""
    text = TEXT.format(name=path, key=secrets.token_urlsafe(16), token=secrets.token_urlsafe(24))
    try:
        with path.open("x", encoding="utf-8") as file:
            path.chmod(0o600)  # it holds keys
            file.write(text)
    except FileExistsError:
        raise Unusable(f"{path} is there already: nothing was written; name another file") from None
