"""How far the sweep of retention has come, what it found last time, and whom it must leave alone."""

import msgspec


class Swept(msgspec.Struct, array_like=True):
    """What one pass did to one class of data."""

    found: int = 0  # too old when they were looked at
    removed: int = 0  # of customers: whose erasure was begun
    oldest_ms: int = 0  # of what is left; 0: nothing is left, or nobody knows
    at_ms: int = 0  # when it was looked at last


class Sweep(msgspec.Struct, array_like=True):
    """Written after each step: whoever is killed is followed by one who goes on from there."""

    phase: int = 0  # place of the class that is swept, of `flows.services.retention.sweep.PHASES`
    cursor: int = 0  # where in it
    began_ms: int = 0  # this pass; 0: none is under way
    looked: int = 0  # customers in this pass ...
    unknown: int = 0  # ... of whom nobody knows when they were heard of: they have no profile
    classes: dict[str, Swept] = {}  # of this pass
    ended_ms: int = 0  # the last pass that came to its end; 0: none yet
    took_ms: int = 0  # it
    last_looked: int = 0  # customers in it
    last_unknown: int = 0
    last: dict[str, Swept] = {}  # classes of it
    clock_ms: int = 0  # when it was last at work
    waits_until_ms: int = 0  # nobody is erased before then ...
    why: str = ""  # ... since the rule is new (`rule`), or the clock has jumped (`clock`)
    rule_ms: int = 0  # `retention.customers` at that time; 0: none
    hour_ms: int = 0  # when the hour began in which ...
    hour_erased: int = 0  # ... so many erasures were begun


class Hold(msgspec.Struct, array_like=True, frozen=True):
    """A customer who is not erased for now, whatever retention says: there is a dispute, or a duty."""

    since_ms: int
    by: str
    note: str = ""
