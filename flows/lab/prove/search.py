"""Looking for every guise of every value in every place, and in what is packed there."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from flows.lab.prove.byte_search import ByteSearch
from flows.lab.prove.encodings import guises
from flows.lab.prove.personal_values import Kind, PersonalValue
from flows.lab.prove.stores import Place
from flows.lab.prove.unpacking import Unpacker

NAMED: Final = "(its name holds it)"  # of a place whose own name may not be told
_Found = tuple[PersonalValue, str]  # the value, and in which guise


class Hit(msgspec.Struct, frozen=True, order=True):
    """A value that lies where it may not."""

    store: str
    place: str
    kind: Kind
    way: str  # by which it went in
    guise: str  # `base64, offset 1, in gzip`
    masked: str
    times: int = 1


class Finding(msgspec.Struct, frozen=True):
    """What was found in which store: the values themselves are for the self-test alone, and never printed."""

    hits: list[Hit]
    found: set[tuple[str, str]]  # store, text of the value
    places: Counter[str]  # by store
    bytes: Counter[str]


class Search:
    """Looks for these values."""

    def __init__(self, values: Sequence[PersonalValue], unpacker: Unpacker) -> None:
        needles = [
            (made, guise.folded, (value, guise.name)) for value in values for guise, made in guises(value)
        ]
        self._unpacker = unpacker
        self._exact: ByteSearch[_Found] = ByteSearch(
            (made, tag) for made, folded, tag in needles if not folded
        )
        self._folded: ByteSearch[_Found] = ByteSearch((made, tag) for made, folded, tag in needles if folded)

    def through(self, places: Iterable[Place]) -> Finding:
        """Return what lies in all of them."""
        counted: Counter[Hit] = Counter()
        finding = Finding(hits=[], found=set(), places=Counter(), bytes=Counter())
        for place in places:
            data = place.read()
            finding.places[place.store] += 1
            finding.bytes[place.store] += len(data)
            within = self.within(data)
            name = place.name if not within or not self.within(place.name.encode()) else NAMED
            for (value, guise), times in within.items():
                counted[_hit(place, name, value, guise)] += times
                finding.found.add((place.store, value.text))
        finding.hits.extend(
            msgspec.structs.replace(hit, times=times) for hit, times in sorted(counted.items())
        )
        return finding

    def within(self, data: bytes) -> Counter[_Found]:
        """Return what lies in some bytes, packed or not, and how often."""
        found: Counter[_Found] = Counter()
        for how, view in self._unpacker.views(data):
            suffix = f", in {how}" if how else ""
            for searched, view_of in ((self._exact, view), (self._folded, view.lower())):
                for _, (value, guise) in searched.find(view_of):
                    found[value, guise + suffix] += 1
        return found


def _hit(place: Place, name: str, value: PersonalValue, guise: str) -> Hit:
    return Hit(
        store=place.store,
        place=name,
        kind=value.kind,
        way=value.way,
        guise=guise,
        masked=value.masked,
    )
