"""`millrace prove sealed`: that its search sees what it looks for, and says so where it does not."""

import gzip
import io
import json
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from stdnum import luhn

from flows.lab import prove
from flows.lab.prove import encodings, plants, scratch, stores
from flows.lab.prove.byte_search import ByteSearch
from flows.lab.prove.deployment_keys import key_value
from flows.lab.prove.encodings import LEAST, guises
from flows.lab.prove.paths import WAYS
from flows.lab.prove.personal_values import People, PersonalValue
from flows.lab.prove.plants import ENCODED, Leak, Planted
from flows.lab.prove.proof_report import Proof, shown
from flows.lab.prove.search import NAMED, Finding, Search
from flows.lab.prove.stores import Evidence, Place
from flows.lab.prove.unpacking import Unpacker
from flows.logic.fields.documents import resident_id
from flows.logic.fields.phones import Phones
from flows.logic.fields.values import Good
from flows.runtime.deployment import Deployment
from schemas.config.toml import load
from schemas.errors import ConfigError
from state.redis.embedded import embedded
from state.shards.compression import SAMPLE
from tests.running import environment

NOTHING = Unpacker({})
DICTIONARY = b"".join(b"page name Home visit %d " % n for n in range(200))
PACKED = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "lz4": plants._PACKED["lz4"],
    "zstd in gzip": lambda data: gzip.compress(zstandard.ZstdCompressor().compress(data)),
}


# --- the values ---


def test_no_value_is_in_use_twice_and_every_number_holds_its_check() -> None:
    people = People(7)
    folks = [people.next() for _ in range(300)]
    texts = [value.text for person in folks for value in person.values.values()]
    assert len(texts) == len(set(texts))
    phones = Phones(complete=False)
    for person in folks:
        assert isinstance(resident_id(person["id_number"]), Good)
        assert luhn.is_valid(person["bank_card"])
        for kind in ("mobile", "phone"):
            assert isinstance(phones.check(person[kind], ("CN",)), Good)
        assert person["birthday"].replace("-", "") == person["id_number"][6:14]


def test_the_same_seed_gives_the_same_people_and_another_one_others() -> None:
    assert People(1).next() == People(1).next() != People(2).next()


def test_what_is_said_of_a_value_does_not_tell_it() -> None:
    people = People(3)
    for value in (value for _ in range(50) for value in people.next().values.values()):
        assert value.masked == f"{value.text[0]}***({len(value.text)})"
    assert key_value(bytes(32)).masked == "***(64)"


# --- the search ---


@given(
    st.lists(st.binary(min_size=4, max_size=9), max_size=8),
    st.lists(st.binary(max_size=6), max_size=6),
    st.data(),
)
def test_it_finds_what_looking_for_one_after_the_other_finds(
    needles: list[bytes], between: list[bytes], data: st.DataObject
) -> None:
    pieces = [
        data.draw(st.sampled_from(needles) if needles and n % 2 else st.just(piece))
        for piece in between
        for n in range(2)
    ]
    text = b"".join(pieces)
    found = sorted(ByteSearch((needle, needle) for needle in needles).find(text))
    naive = sorted(
        (at, needle) for needle in needles for at in range(len(text)) if text.startswith(needle, at)
    )
    assert found == naive


def test_a_needle_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 bytes, got one of 3"):
        ByteSearch([(b"abc", 1)])


@pytest.mark.parametrize("leak", ENCODED, ids=[leak.name for leak in ENCODED])
@pytest.mark.parametrize("shift", range(4))
def test_each_encoding_is_found_wherever_it_begins(leak: Leak, shift: int) -> None:
    for value in drawn(leak, 8):
        found = Search([value], NOTHING).within(b"\x00" * shift + leak.written(value.text) + b"\xff")
        assert {who for who, _ in found} == {value}


def drawn(leak: Leak, count: int) -> list[PersonalValue]:
    people = People(5)
    return [plants._somebody(people, leak.kind) for _ in range(count)]


def test_in_what_is_somebody_elses_nothing_is_found() -> None:
    people = People(5)
    mine, others = [people.next() for _ in range(40)], [people.next() for _ in range(40)]
    values = [value for person in mine for value in person.values.values()]
    said = b"\n".join(leak.written(person[leak.kind]) for person in others for leak in ENCODED)
    assert Search(values, NOTHING).within(said) == {}


def test_no_guise_is_so_short_that_chance_writes_it() -> None:
    people = People(9)
    for value in (value for _ in range(100) for value in people.next().values.values()):
        made = list(guises(value))
        assert made, value
        assert min(len(needle) for _, needle in made) >= LEAST


@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("behind", [b"", b"\x00" * 40, b"anything that follows"])
def test_what_is_packed_is_found_wherever_it_lies(how: str, behind: bytes) -> None:
    value = drawn(ENCODED[0], 1)[0]
    packed = PACKED[how](plants._long(value.text))
    assert value.text.encode() not in packed
    found = Search([value], NOTHING).within(b"before " + packed + behind)
    assert [guise for _, guise in found] == [f"plain, in {', '.join(reversed(how.split(' in ')))}"]


def test_a_profile_is_unpacked_with_its_own_dictionary_alone() -> None:
    value = drawn(ENCODED[0], 1)[0]
    packed = bytes((0xC1, 3)) + plants._magicless(DICTIONARY).compress(plants._long(value.text))
    assert Search([value], Unpacker({3: DICTIONARY})).within(b"k" + packed)
    assert not Search([value], Unpacker({4: DICTIONARY})).within(b"k" + packed)
    assert not Search([value], NOTHING).within(b"k" + packed)


@pytest.mark.parametrize(
    "begin", [b"\x1f\x8b\x08", b"\x78\x9c", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\xc1\x03"]
)
@given(rest=st.binary(max_size=60))
def test_what_only_looks_packed_stops_nothing(begin: bytes, rest: bytes) -> None:
    value = drawn(ENCODED[0], 1)[0]
    search = Search([value], Unpacker({3: DICTIONARY}))
    assert search.within(begin + rest + value.text.encode() + begin)


@pytest.mark.parametrize("how", ["gzip", "zlib"])
def test_of_what_was_torn_off_the_beginning_is_read(how: str) -> None:
    value = drawn(ENCODED[0], 1)[0]
    packed = PACKED[how](value.text.encode() + bytes(range(256)) * 4)
    assert Search([value], NOTHING).within(packed[:-12])


def test_a_place_whose_own_name_tells_a_value_is_not_named() -> None:
    value = drawn(ENCODED[0], 1)[0]
    told, quiet = (Place("Redis: string", name, value.text.encode) for name in (f"mr:{value.text}", "mr:1"))
    found = Search([value], NOTHING).through([told, quiet])
    assert [hit.place for hit in found.hits] == [NAMED, "mr:1"]
    assert value.text not in msgspec.json.encode(found.hits).decode()


@pytest.mark.parametrize("shift", range(3))
def test_a_key_is_found_everywhere_but_where_keys_are_kept(shift: int) -> None:
    key = bytes(range(100, 132))
    search = Search([key_value(key)], NOTHING)
    for written in (key, key.hex().encode(), b64encode(b"x" * shift + key + b"y")):
        assert search.within(b"before" + written)
        places = [Place(stores.OTHERS, name, partial(bytes, written)) for name in ("keys.json", "other.json")]
        assert {hit.place for hit in search.through(places).hits} == {"other.json"}
    assert not search.within(key[:-1] + b"?")


# --- the places ---


@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("redis/appendonlydir/appendonly.aof.1.incr.aof", "AOF"),
        ("redis/dump.rdb", "RDB"),
        ("redis/redis.log", "logs"),
        ("prove.log", "logs"),
        ("archive/000001.log.age", "archive"),
        ("archive-20260101000000/1", "archive"),
        ("backup/20260101/directory.bin", "backups"),
        ("keycopy.db", "copy of the data keys"),
        ("keycopy.db-wal", "copy of the data keys"),
        ("metrics/all/counter_1.db", "metrics files"),
        ("imports/1/rejects.csv", stores.OTHERS),
        ("what/nobody/knows.log", stores.OTHERS),
    ],
)
def test_which_store_a_file_belongs_to(name: str, store: str) -> None:
    assert stores.store_of(name) == store


class Left:
    """What a small deployment left: a Redis with a profile, and a file of each kind."""

    def __init__(self, folder: Path) -> None:
        file = folder / "millrace.toml"
        file.write_text('[data]\nfolder = "data"\n[redis]\nprefix = "mr"\n')
        self.config = load(file)
        self.data = folder / "data"
        for name in (
            "archive/1",
            "backup/b/1",
            "keycopy.db",
            "prove.log",
            "metrics/all/1.db",
            "keys.json",
            "other",
        ):
            path = self.data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\x00\x01 nothing of interest " * 9)
        self.evidence = Evidence(
            folder=self.data,
            deployment=Deployment(self.config),
            said={store: {"one": b"nothing"} for store in stores.SAID},
        )
        self.made: list[Planted] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        with embedded(self.config).running():
            prove._leave_open(self.evidence.deployment)
            names = self.evidence.deployment.names
            self.evidence.deployment.client.hset(names.dictionaries.decode(), "1", DICTIONARY)
            yield

    def missed(self, folder: Path) -> list[str]:
        """Plant, search, and return what was not found."""
        dictionaries = stores.dictionaries(self.evidence.deployment)
        self.made = plants.leaks(People(1), dictionaries)
        copied = plants.planted(self.evidence, self.made, folder / "planted")
        searched = [store for store in stores.STORES if store != stores.BROKER]
        values = [one.value for one in self.made]
        found = Search(values, Unpacker(dictionaries)).through(stores.places(copied))
        return plants.missed(self.made, found.found, searched)


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Left]:
    made = Left(tmp_path)
    with made.running():
        yield made


def test_every_leak_is_found_in_every_kind_of_store(left: Left, tmp_path: Path) -> None:
    left.evidence.deployment.client.set("gone", "x", px=1)  # what expires meanwhile stops nothing
    assert left.missed(tmp_path) == []
    assert len(left.made) == len({one.value.text for one in left.made}) > len(ENCODED) + 4
    # ... and what was there before holds none of it
    values = [one.value for one in left.made]
    before = Search(values, NOTHING).through(stores.files(left.data / "archive"))
    assert before == Finding([], set(), before.places, before.bytes)


def test_the_files_of_a_broker_are_searched_but_for_what_apps_write_in_the_clear(tmp_path: Path) -> None:
    value = drawn(ENCODED[0], 1)[0]
    for topic in (scratch.EVENTS_TOPIC, scratch.APPS_TOPIC):
        log = tmp_path / f"{topic}-0" / "0.log"
        log.parent.mkdir()
        log.write_bytes(b"head" + PACKED["lz4"](plants._long(value.text)))
    found = Search([value], NOTHING).through(stores.broker_files(tmp_path, (scratch.APPS_TOPIC,)))
    assert [hit.place for hit in found.hits] == [f"{scratch.EVENTS_TOPIC}-0/0.log"]


def _no_zstd(_tool: Any, _data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("module", "name", "broken", "blind"),
    [
        ("unpacking", "_by_zstd", _no_zstd, "zstd in RDB"),
        ("stores", "_READ", stores._READ | {"stream": ("XLEN",)}, "plain in Redis: stream"),
        ("search", "_TOGETHER", 1, ""),
        ("encodings", "GUISES", encodings.GUISES[:-4], "an integer in msgpack in logs"),
        ("encodings", "GUISES", encodings.GUISES[:2], "hex in archive"),
    ],
)
def test_a_search_that_is_broken_on_purpose_is_noticed(
    left: Left,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    broken: Any,
    blind: str,
) -> None:
    monkeypatch.setattr(sys.modules[f"flows.lab.prove.{module}"], name, broken)
    missed = left.missed(tmp_path)
    assert blind in missed if blind else missed == []


def test_what_offset_a_leak_has_in_base64_is_the_leaks_own_affair() -> None:
    """The search for one offset does not find another: each has to be looked for."""
    value = drawn(ENCODED[0], 1)[0]
    looked_for = [(guise.name, needle) for guise, needle in guises(value) if guise.name.startswith("base64,")]
    for shift in range(3):
        coded = b64encode(b"x" * shift + value.text.encode() + b"end")
        assert [name for name, needle in looked_for if needle in coded] == [f"base64, offset {shift}"]


# --- the result ---

GOOD = Proof(
    values=2,
    places=1,
    bytes=3,
    hits=0,
    planted=4,
    planted_found=4,
    stores=[],
    ways=[],
    where=[],
    missed=[],
    not_walked=[],
    left_out=[],
    seconds=1.0,
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hits": 1},
        {"planted_found": 3},
        {"planted": 0, "planted_found": 0},
        {"missed": ["x"]},
        {"not_walked": ["x"]},
    ],
)
def test_a_proof_holds_only_where_all_was_walked_and_every_plant_was_found(wrong: dict[str, Any]) -> None:
    assert GOOD.good
    assert not msgspec.structs.replace(GOOD, **wrong).good


def test_the_screen_says_where_it_lies_and_never_what(left: Left, tmp_path: Path) -> None:
    left.missed(tmp_path)
    values = [one.value for one in left.made]
    found = Search(values, NOTHING).through(stores.redis_values(left.evidence.deployment, b"*"))
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(shown(msgspec.structs.replace(GOOD, hits=len(found.hits), where=found.hits)))
    said = console.export_text()
    assert "FOUND in Redis: hash (prove:planted:hash)" in said
    assert Search(values, NOTHING).within(said.encode()) == {}


def test_a_folder_that_holds_something_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(ConfigError, match="expected a folder that is empty"):
        prove.play(keep=tmp_path)
    assert (tmp_path / "mine").exists()


# --- the whole ---


def test_the_ways_are_a_table_with_names_of_their_own() -> None:
    names = [way.name for way in WAYS]
    assert len(names) == len(set(names)) >= 15
    assert sum(way.people for way in WAYS if not way.kafka) * len(People(1).next().values) >= 200


def test_there_are_visitors_enough_for_a_dictionary_on_any_machine() -> None:
    """A worker that has but one shard makes one as well."""
    assert prove.VISITORS / scratch.SHARDS > 1.2 * SAMPLE


@pytest.mark.slow
def test_nothing_lies_open_after_a_few_ways_and_every_plant_is_found() -> None:
    """The whole of it is run by .ci/run."""
    few = tuple(way for way in WAYS if way.name in ("HTTP, a batch", "rejects", "triggers"))
    proof = prove.play(few, visitors=50)
    assert (proof.hits, proof.missed, proof.planted_found) == (0, [], proof.planted)
    assert [row.arrived > 0 for row in proof.ways] == [True] * 3
    assert proof.not_walked == ["profiles compressed with a dictionary: there is none"]


@pytest.mark.slow
def test_a_deployment_that_seals_nothing_by_name_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sealing = scratch.document

    def careless(*given: Any) -> dict[str, Any]:
        made = sealing(*given)
        made["privacy"]["sensitive"] = ["email"]
        for connector in made["connector"]:
            connector["identify"] = ["email"] if connector["identify"] else []
        return made

    monkeypatch.setattr(prove, "document", careless)
    proof = prove.play(tuple(way for way in WAYS if way.name == "HTTP, a batch"), visitors=50)
    assert {hit.kind for hit in proof.where} >= {"plate", "ip"}
    assert {hit.way for hit in proof.where} == {"HTTP, a batch"}
    assert {"AOF", "RDB", "Redis: string"} <= {hit.store for hit in proof.where}
    assert not proof.good


@pytest.mark.slow
def test_the_command_as_people_run_it() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "flows.cli", "prove", "sealed", "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["hits"], found["where"], found["missed"], found["not_walked"]) == (0, [], [], [])
    assert found["planted"] == found["planted_found"] > 500
    assert found["values"] >= 200
    assert "nothing lies open" in done.stderr
