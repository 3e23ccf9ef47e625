"""Looking for every guise of every value in every place, and in what is packed there."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from flows.lab.prove.byte_search import ByteSearch
from flows.lab.prove.deployment_keys import HOLDERS
from flows.lab.prove.encodings import guises
from flows.lab.prove.personal_values import Kind, PersonalValue
from flows.lab.prove.stores import Place
from flows.lab.prove.unpacking import Unpacker

NAMED: Final = "(its name holds it)"  # of a place whose own name may not be told
_TOGETHER: Final = 1 << 20  # bytes that are looked through as one
_BETWEEN: Final = b"\xff\xfe\xff\n\0\xff"  # in no value, in whatever guise
_Found = tuple[PersonalValue, str]  # the value, and in which guise
_View = tuple[Place, str, bytes]  # where from, unpacked by what


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
        for some in _together(self._views(places, finding)):
            for at, (value, guise) in self._find([view for _, _, view in some]):
                place, how, _ = some[at]
                if value.kind == "key" and place.name in HOLDERS:
                    continue
                counted[self._hit(place, value, guise + how)] += 1
                finding.found.add((place.store, value.text))
        finding.hits.extend(
            msgspec.structs.replace(hit, times=times) for hit, times in sorted(counted.items())
        )
        return finding

    def within(self, data: bytes) -> Counter[_Found]:
        """Return what lies in some bytes, packed or not, and how often."""
        views = [(_in(how), view) for how, view in self._unpacker.views(data)]
        found = self._find([view for _, view in views])
        return Counter((value, guise + views[at][0]) for at, (value, guise) in found)

    def _views(self, places: Iterable[Place], finding: Finding) -> Iterator[_View]:
        """Each place, and all that can be unpacked from it; `finding` counts them."""
        for place in places:
            data = place.read()
            finding.places[place.store] += 1
            finding.bytes[place.store] += len(data)
            for how, view in self._unpacker.views(data):
                yield place, _in(how), view

    def _find(self, views: Sequence[bytes]) -> Iterator[tuple[int, _Found]]:
        """What lies in which of them. They are looked through as one: most are small, and each look has its
        price."""
        begins = [0, *accumulate(len(view) + len(_BETWEEN) for view in views)]
        whole = _BETWEEN.join(views)
        for search, text in ((self._exact, whole), (self._folded, whole.lower())):
            for at, found in search.find(text):
                yield bisect_right(begins, at) - 1, found

    def _hit(self, place: Place, value: PersonalValue, guise: str) -> Hit:
        return Hit(
            store=place.store,
            place=NAMED if self.within(place.name.encode()) else place.name,
            kind=value.kind,
            way=value.way,
            guise=guise,
            masked=value.masked,
        )


def _in(how: str) -> str:
    return f", in {how}" if how else ""


def _together(views: Iterable[_View]) -> Iterator[list[_View]]:
    """Small ones together, large ones alone."""
    some: list[_View] = []
    size = 0
    for view in views:
        some.append(view)
        size += len(view[2])
        if size >= _TOGETHER:
            yield some
            some, size = [], 0
    yield some
