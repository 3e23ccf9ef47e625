"""The lanes of a shard's outbox: what it tells the outside, and what it sends to itself."""

from typing import Final


class Lane:
    """The letter of each lane, as it stands in keys, heads and cursors. Plain text rather than an `Enum`: the
    letters are compared and hashed for each message."""

    TRIGGERS: Final = "t"  # packed `Trigger`s, for `deliver`
    ABSORBS: Final = "i"  # packed `Absorb`s, for the internal lane of `deliver`
    EXAMPLES: Final = "x"  # packed `Example`s, for `learn`
    DECISIONS: Final = "d"  # packed `Decision`s: looked up, not taken
    QUARANTINE: Final = "q"  # what logic raised on: a note for the operator, in no digest


LANES: Final = (Lane.TRIGGERS, Lane.ABSORBS, Lane.EXAMPLES, Lane.DECISIONS)
# Somebody has to take what lies in these, so they are back-pressure.
QUEUES: Final = (Lane.TRIGGERS, Lane.ABSORBS, Lane.EXAMPLES)
