"""Which words change one switch of a customer, and no other.

A no wins over every yes that speaks of the same thing. So a yes has to take back each no that stands against
it: also that of a banner's id which means the purpose, and that to a channel as such. Where this would allow
something else as well, that is refused by its own name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from flows.logic.permissions.permissions import Permissions
from flows.logic.permissions.statements import Stated, Words
from schemas.config import Purpose

# The modes that customers choose among, and the purposes that each allows.
MODES: Final[Mapping[str, frozenset[str]]] = {
    "basic": frozenset(),
    "basic+marketing": frozenset(("marketing", "sales")),
    "basic+personalised": frozenset(("personalisation",)),
}


class Switches:
    """The switches of one configuration."""

    def __init__(self, purposes: Iterable[Purpose], parts: Sequence[str], may: Permissions) -> None:
        """`parts`: channels and categories of data."""
        self._purposes = {purpose.name: purpose for purpose in purposes if not purpose.required}
        self._parts = parts
        self._may = may

    def modes(self) -> list[str]:
        """Return the modes that mean something here."""
        return [mode for mode, named in MODES.items() if not named or named & self._purposes.keys()]

    def mode(self, words: Words) -> str:
        """Return the mode that allows exactly what is allowed; "" where none does."""
        allowed = {name for name in self._purposes if self._may.serves(words, name)}
        return next((mode for mode in self.modes() if allowed == MODES[mode] & self._purposes.keys()), "")

    def choose(self, words: Words, mode: str) -> Stated:
        """Return the words that allow what a mode allows, and no other purpose that is asked for."""
        wanted = MODES[mode] & self._purposes.keys()
        said: Stated = dict.fromkeys((name for name in self._purposes if name not in wanted), False)
        for name in sorted(wanted):
            said = said | {thing: yes for thing, yes in self.switch(words, name, "", True).items() if yes}
        return said

    def switch(self, words: Words, purpose: str, part: str, allow: bool) -> Stated:
        """Return the words that allow or refuse a purpose (no `part`), or a channel or category of it."""
        thing = f"{purpose}.{part}" if part else purpose
        if not allow:
            return {thing: False}
        said = words.said
        against = [name for name in self._names(purpose, part) if said.get(name) is False]
        if part and said.get(part) is False:
            against.append(part)
        new: Stated = {thing: True} | dict.fromkeys(against, True)
        for other, its in self._others(purpose):
            now = Words(said | new, words.country)
            if not self._allows(words, other, its) and self._allows(now, other, its):
                new[f"{other}.{its}" if its else other] = False
        return new

    def _names(self, purpose: str, part: str) -> list[str]:
        names = (purpose, *self._purposes[purpose].stated_by)
        return [f"{name}.{part}" for name in names] if part else [*names]

    def _others(self, purpose: str) -> Iterator[tuple[str, str]]:
        for other in self._purposes:
            if other != purpose:
                yield from ((other, part) for part in ("", *self._parts))

    def _allows(self, words: Words, purpose: str, part: str) -> bool:
        return self._may.may_contact(words, purpose, part)
