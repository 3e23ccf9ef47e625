"""The self-test of the search: leaks that are planted in each kind of store, in each encoding and packed in
each way, of people whom nothing else knows. What of them is not found could not have been found before.

How a leak is written is said here once more, from the outside: by what programs do that encode, not by what
is looked for.
"""

import gzip
import json
import os
import shutil
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus, urlencode

import msgspec
import pyarrow
import zstandard

from flows.lab.prove import stores
from flows.lab.prove.deployment_keys import HOLDERS, key_value
from flows.lab.prove.personal_values import Kind, People, PersonalValue
from flows.lab.prove.scratch import EVENTS_TOPIC
from flows.lab.prove.stores import Evidence
from flows.runtime.deployment import Deployment
from state.key_ring import KEY_BYTES

WAY: Final = "planted"
KEYS: Final = b"prove:planted:"  # in Redis
_BEFORE, _AFTER = b"\x00\xff some bytes before; ", b" and some behind\x00\xff"


class Leak(NamedTuple):
    """`written`: the value as a program would leave it."""

    name: str
    kind: Kind
    written: Callable[[str], bytes]


def _in_base64(shift: int, encode: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
    return lambda text: encode(b"?" * (3 + shift) + text.encode() + b"~~~~")


def _digits(text: str) -> int:
    return int(text.replace(" ", ""))


ENCODED: Final[tuple[Leak, ...]] = (
    Leak("plain", "email", str.encode),
    Leak("lower case", "email", lambda text: text.lower().encode()),
    Leak("upper case", "email", lambda text: text.upper().encode()),
    Leak("plain, Chinese", "street", str.encode),
    Leak("without separators", "bank_card", lambda text: str(_digits(text)).encode()),
    Leak("with separators", "mobile", lambda text: f"+86 {text[:3]} {text[3:7]} {text[7:]}".encode()),
    Leak("URL-encoded", "email", lambda text: urlencode({"email": text}).encode()),
    Leak("URL-encoded, blanks as +", "name", lambda text: quote_plus(text).encode()),
    Leak("URL-encoded twice", "email", lambda text: quote(quote(text, safe=""), safe="").encode()),
    Leak("URL-encoded, Chinese", "street", lambda text: quote(text).encode()),
    Leak("in JSON, escaped", "street", lambda text: json.dumps({"street": text}).encode()),
    Leak("in Python, escaped", "street", lambda text: repr({"street": text.encode()}).encode()),
    Leak("in GB 18030", "street", lambda text: text.encode("gb18030")),
    Leak("hex", "email", lambda text: text.encode().hex().encode()),
    Leak("hex, upper case", "id_number", lambda text: text.encode().hex().upper().encode()),
    Leak("UTF-16 LE", "email", lambda text: f"to: {text}".encode("utf-16-le")),
    Leak("UTF-16 BE", "name", lambda text: f"to: {text}".encode("utf-16-be")),
    *(Leak(f"base64, offset {n}", "email", _in_base64(n, b64encode)) for n in range(3)),
    *(Leak(f"base64url, offset {n}", "street", _in_base64(n, urlsafe_b64encode)) for n in range(3)),
    Leak("an integer in msgpack", "mobile", lambda text: msgspec.msgpack.encode({"n": int(text)})),
    Leak("a float in msgpack", "mobile", lambda text: msgspec.msgpack.encode({"n": float(text)})),
    Leak("an integer, little-endian", "mobile", lambda text: int(text).to_bytes(8, "little")),
)
_PACKED: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "lz4": lambda data: pyarrow.compress(data, codec="lz4", asbytes=True),
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip in zstd": lambda data: zstandard.ZstdCompressor().compress(gzip.compress(data)),
}
_OF_KEYS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "a key as it is": bytes,
    "a key in hex": lambda key: f"key={key.hex().upper()}".encode(),
    "a key in base64": lambda key: json.dumps({"kek": b64encode(key).decode()}).encode(),
}
BY_DICTIONARY: Final = "zstd with the dictionary of profiles"


class Planted(NamedTuple):
    """One leak: what it is, whose value it is, the bytes."""

    name: str
    value: PersonalValue
    data: bytes


def leaks(people: People, dictionaries: Mapping[int, bytes]) -> list[Planted]:
    """Return one leak in each encoding and packed in each way, each of somebody of its own."""
    made = []
    for leak in ENCODED:
        value = _somebody(people, leak.kind)
        made.append(Planted(leak.name, value, leak.written(value.text)))
    for name, written in _OF_KEYS.items():
        key = os.urandom(KEY_BYTES)
        made.append(Planted(name, key_value(key), written(key)))
    packers = dict(_PACKED)
    if dictionaries:
        number, dictionary = max(dictionaries.items())
        packers[BY_DICTIONARY] = lambda data: bytes((0xC1, number)) + _magicless(dictionary).compress(data)
    for how, pack in packers.items():
        value = _somebody(people, "email")
        made.append(Planted(how, value, pack(_long(value.text))))
    return made


def planted(evidence: Evidence, made: list[Planted], folder: Path) -> Evidence:
    """Plant each leak in each kind of store: in the Redis of the deployment itself, whose files then have it,
    and in copies of all else. Return what there is then, in `folder` and beside it."""
    _into_redis(evidence.deployment, made)
    evidence.deployment.client.save()
    data = Path(evidence.deployment.config.data.folder)
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns("*.sock"))
    everything = _AFTER.join(_BEFORE + one.data for one in made) + _AFTER
    for path in _one_of_each(folder):
        _insert(path, everything)
    broker = evidence.broker and _planted_broker(evidence.broker, folder, everything)
    said = {store: {**there, "planted": everything} for store, there in evidence.said.items()}
    return msgspec.structs.replace(evidence, folder=folder, said=said, broker=broker, keys=KEYS + b"*")


def missed(made: list[Planted], found: Set[tuple[str, str]], searched: Iterable[str]) -> list[str]:
    """Return the leaks that were not found, and in which store. `found`: store and text of values."""
    return [
        f"{one.name} in {store}" for store in searched for one in made if (store, one.value.text) not in found
    ]


def _planted_broker(broker: Path, folder: Path, data: bytes) -> Path:
    """A copy of a broker's files, with the leaks in its log of events."""
    copied = folder.with_name(f"{folder.name}-broker")
    shutil.copytree(broker, copied)
    _insert(next(copied.rglob(f"{EVENTS_TOPIC}-*/*.log")), data)
    return copied


def _into_redis(deployment: Deployment, made: list[Planted]) -> None:
    """As values of all types, each leak a value of its own."""
    client: Any = deployment.client
    values = {one.name: one.data for one in made}
    for name, data in values.items():
        client.set(KEYS + b"string:" + name.encode(), data)
        client.xadd(KEYS + b"stream", {b"body": data})
    client.hset(KEYS + b"hash", mapping=values)
    client.rpush(KEYS + b"list", *values.values())
    client.sadd(KEYS + b"set", *values.values())
    client.zadd(KEYS + b"zset", dict.fromkeys(values.values(), 1))


def _one_of_each(folder: Path) -> Iterator[Path]:
    """Yield a file of each kind of store, but for those of Redis: these were planted by Redis itself."""
    seen = {"AOF", "RDB"}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        store = stores.store_of(name)
        if path.is_file() and store not in seen and name not in HOLDERS:
            seen.add(store)
            yield path


def _insert(path: Path, data: bytes) -> None:
    """In the middle of what is there."""
    there = path.read_bytes()
    half = len(there) // 2
    path.write_bytes(there[:half] + data + there[half:])


def _somebody(people: People, kind: Kind) -> PersonalValue:
    """A value that nobody else has; of streets a Chinese one, which is what encodings differ about."""
    person = people.next()
    while kind == "street" and person[kind].isascii():
        person = people.next()
    return msgspec.structs.replace(person.values[kind], way=WAY)


def _long(text: str) -> bytes:
    """Something whose parts come before the whole, so that no packer leaves that as it is."""
    half = len(text) // 2
    parts = {"front": text[: half + 2], "seen": ["page", "page", "page"] * 9, "end": text[half - 2 :]}
    return msgspec.msgpack.encode(parts | {"mail": text, "more": "more" * 9})


def _magicless(dictionary: bytes) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(
        dict_data=zstandard.ZstdCompressionDict(dictionary),
        compression_params=zstandard.ZstdCompressionParameters.from_level(
            3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=True, write_dict_id=False
        ),
    )
