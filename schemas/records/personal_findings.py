"""What looked like personal data in fields that nobody listed, as each worker of `resolve` has counted it."""

import msgspec


class FieldFindings(msgspec.Struct, array_like=True):
    """One field. No value is here: only counts, and an example of each kind with most of it masked."""

    source: str
    event: str  # the event's name, or its type
    field: str  # `properties.note`, `traits.contact`; in lists `properties.items.*.note`
    looked_at: int = 0  # values, of the events that were looked at
    hits: dict[str, int] = {}  # kind -> values that look like it
    kept: dict[str, int] = {}  # kind -> those of them that stay in the open
    examples: dict[str, str] = {}  # kind -> the last one, masked
    # kind -> one of 64 bits for each value: how many different ones there are, about
    different: dict[str, int] = {}
    seen_ms: int = 0  # the last hit


class PersonalFindings(msgspec.Struct, array_like=True):
    """Of one worker."""

    events: int = 0  # that were looked at
    fields: list[FieldFindings] = []
    beyond: int = 0  # values of fields for which there was no room
    failed: int = 0  # events that our own logic raised on: they are taken all the same
