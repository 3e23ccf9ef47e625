"""What a change of rules would take away: looked at before they come into force, for it cannot be had back.

A figure that is not kept for an hour misses that hour for ever, and a tag that goes fires what hangs on it. A
file that was cut off, or that belongs to something else, looks just so. What the next reload brings back as
it was is no loss.
"""

from collections.abc import Sequence
from typing import Any, Final

from flows.logic.profile.aggregates import slot_of
from schemas.config import Rules

_MAY_GO: Final = {
    "tag": 0.0,
    "model": 0.5,
    "action": 0.5,
    "trigger": 0.5,
}  # the share of these that goes without a word
_NAMES_MAX: Final = 5  # that one line names


def losses(before: Rules, after: Rules) -> list[str]:
    """Return a line for each kind of rule of which too much goes; [] where nobody needs to be asked."""
    found = _figures(before, after)
    for kind, share in _MAY_GO.items():
        rules: Sequence[Any] = getattr(before, kind)
        kept = {rule.name for rule in getattr(after, kind)}
        gone = [rule.name for rule in rules if rule.name not in kept]
        if len(gone) > share * len(rules):
            found.append(f"{_counted(gone, rules, kind)}: {_listed(gone)}")
    if before.segment and not after.segment:  # fewer may be the same under other names
        names = [segment.name for segment in before.segment]
        found.append(f"{_counted(names, names, 'segment')}: {_listed(names)}")
    return found


def _figures(before: Rules, after: Rules) -> list[str]:
    kept, names = (
        {slot_of(aggregate) for aggregate in after.aggregate},
        {aggregate.name for aggregate in after.aggregate},
    )
    lost = [aggregate.name for aggregate in before.aggregate if slot_of(aggregate) not in kept]
    gone, anew = [name for name in lost if name not in names], [name for name in lost if name in names]
    found = []
    if gone:
        found.append(
            f"{_counted(gone, before.aggregate, 'aggregate')}, and what was counted with it: {_listed(gone)}"
        )
    if anew:
        found.append(f"defined otherwise, and so counted from nothing again: {_listed(anew)}")
    return found


def _counted(gone: Sequence[str], rules: Sequence[Any], kind: str) -> str:
    if len(rules) == 1:
        return f"the only {kind} goes"
    return f"{len(gone)} of {len(rules)} {kind}s {'goes' if len(gone) == 1 else 'go'}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_MAX
    return ", ".join(f"`{name}`" for name in names[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
