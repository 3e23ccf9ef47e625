"""Groups: the companies and the like that a customer belongs to. What a `group` call states is the group's,
and nobody's own.

In the profile it lies among the general traits, under names that only we may write, so that fragments add it
up as they do all traits:

    $group.ID          whether the customer belongs to it
    $group.ID\0TRAIT   what was last stated of a trait
"""

from collections.abc import Mapping
from typing import Any, Final

from flows.logic.fields.check import GROUP

_OF: Final = "\0"


def stated(group: str, traits: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one call states, as traits of the customer."""
    of_it = GROUP + group.replace(_OF, "")
    return {of_it: True} | {f"{of_it}{_OF}{name}": value for name, value in traits.items()}


def is_one(name: str) -> bool:
    """Return whether a trait is about a group."""
    return name.startswith(GROUP)


def shown(traits: Mapping[str, tuple[int, Any]]) -> dict[str, dict[str, Any]]:
    """Return each group with its traits, in the order of names."""
    found: dict[str, dict[str, Any]] = {}
    for name, (_time_ms, value) in sorted(traits.items()):
        if is_one(name):
            group, of, trait = name.removeprefix(GROUP).partition(_OF)
            known = found.setdefault(group, {})
            if of:
                known[trait] = value
    return found
