"""What is said of a key that is gone though others speak of it, or that cannot be read: which, of which
shard, and what to do.

Going on as if nothing had ever been there would be quiet: a customer would begin again from nothing, a
position would go back to the start.
"""

import struct
from collections.abc import Iterator
from typing import Final, cast

import msgspec
import redis

from schemas.errors import CustomerDamaged, Damaged
from schemas.records.identity_graph import text_id
from state.redis.names import Names

UNREADABLE: Final = (msgspec.MsgspecError, struct.error, UnicodeDecodeError)
RESTORE: Final = "restore a backup (docs/backup.md)"
GONE: Final = "is gone, and other keys speak of it"
CHANGED: Final = "cannot be read, its bytes were changed"
_IN_A_SCRIPT: Final = "DAMAGED"  # begins what our scripts say of a key
_TYPES: Final = {  # what stands behind the tag, up to a number or an id
    "string": (b"head", b"counters", b"p:", b"u:", b"x:"),
    "zset": (b"due", b"tm:", b"timers"),
    "stream": (b"log:", b"out:", b"journal", b"ledger", b"dead", b"matches"),
    "hash": (
        b"xs:",
        b"cursors",
        b"meta",
        b"offsets",
        b"heads",
        b"stats",
        b"senders",
        b"i:",
        b"o:",
        b"r:",
        b"dictionaries",
    ),
}


def of_customer(key: str, shard: int, root: bytes, reason: str) -> CustomerDamaged:
    """Return the error about one customer, who can be given up while the others go on."""
    repair = f"`millrace repair customer {text_id(root)}`, which gives up their history"
    return CustomerDamaged(
        f"shard {shard}: {key} of customer {text_id(root)} {reason}: {RESTORE}, or run {repair}"
    )


def of_shard(key: bytes, shard: int, reason: str) -> Damaged:
    return Damaged(f"shard {shard}: {shown(key)} {reason}: {RESTORE}")


def of_directory(key: bytes, reason: str) -> Damaged:
    return Damaged(f"the directory: {shown(key)} {reason}: {RESTORE}")


def number(packed: bytes | None, key: bytes) -> int:
    """Read a number as Redis keeps it; 0 for none. Raises `Damaged`."""
    try:
        return int(packed or 0)
    except ValueError:
        raise Damaged(f"{shown(key)} holds {packed!r}, expected a whole number: {RESTORE}") from None


def in_a_script(error: redis.ResponseError) -> Damaged | None:
    """Return what a script has found, if that is what it ended with."""
    said = str(error).partition(f"{_IN_A_SCRIPT} ")[2].split()
    return (
        Damaged(f"the directory: field {said[1]} of {said[0]} {GONE}: {RESTORE}") if len(said) > 1 else None
    )


def of_another_type(client: redis.Redis, names: Names) -> Iterator[Damaged]:
    """Yield keys of ours that hold another type than they should. Looks at all of them."""
    prefix = names.prefix + b":{"
    for key in client.scan_iter(match=prefix + b"*", count=1_000):
        rest = key[len(prefix) :].partition(b"}:")[2]
        part = rest[: rest.find(b":") + 1] or rest
        expected = next((kind for kind, parts in _TYPES.items() if part in parts), None)
        found = cast(bytes, client.type(key)).decode()
        if expected not in (None, found) and not (key.startswith(names.directory) and rest.startswith(b"u:")):
            yield Damaged(f"{shown(key)} is a {found}, expected a {expected}: {RESTORE}")


def shown(key: bytes) -> str:
    """Return a key for people: an id at its end as hex digits."""
    try:
        return key.decode("ascii")
    except UnicodeDecodeError:
        return f"{key[:-12].decode(errors='replace')}{key[-12:].hex()}"
