"""The key file, and what is sealed with its keys."""

import multiprocessing
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

import state.keys as keys_module
from schemas.errors import ConfigError, Foreign
from state.key_ring import GENERAL, KEY_BYTES, KeyRing, load_document
from state.key_wrapping import HEAD_BYTES, derived
from state.keys import ARCHIVED, MATCHED, NONCE_BYTES, SALT_BYTES, DataKey, DataKeys, LogSeal
from state.keys import SEALS_MAX as SEALS
from state.redis.names import Names
from tests.golden import FOLDER as GOLDEN
from tests.key_files import load_keys, wrapping

ANA, BOB = b"a" * 12, b"b" * 12
KEK = bytes(range(KEY_BYTES))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "keys.json"


def data_keys(url: str, kek: bytes = KEK) -> DataKeys:
    return DataKeys(redis.Redis.from_url(url), Names("t"), wrapping(kek), 16)


def test_a_key_file_is_made_once_for_its_owner_alone(file: Path) -> None:
    made = load_keys(file, create=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_keys(file, create=True) == load_keys(file, create=False) == made
    assert len({made.hash, made.log, made.sign, *load_document(file).keks.values()}) == 4
    assert list(file.parent.iterdir()) == [file]


def test_keys_are_never_printed(file: Path) -> None:
    made = load_keys(file, create=True)
    assert repr(made) == str(made) == "KeyRing(***)"
    assert str(load_document(file)) == "KeyDocument(***)"


def _load(path: Path, gate: str, answers: "multiprocessing.Queue[bytes]") -> None:
    while not Path(gate).exists():
        pass
    answers.put(load_keys(path, create=True).log)


def test_of_two_processes_that_make_it_at_once_both_get_the_same(file: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[bytes] = context.Queue()
    gate = tmp_path / "gate"
    processes = [context.Process(target=_load, args=(file, str(gate), answers)) for _ in range(2)]
    for process in processes:
        process.start()
    gate.touch()
    try:
        assert answers.get(timeout=30) == answers.get(timeout=30)
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def test_a_file_that_is_not_there_is_a_clear_error(file: Path) -> None:
    with pytest.raises(ConfigError, match="no key file at"):
        load_keys(file, create=False)


def test_a_file_that_others_can_read_is_refused(file: Path) -> None:
    load_keys(file, create=True)
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_keys(file, create=False)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"hash": 5}', '{"hash": "not base64!", "log": "", "sign": "", "kek": ""}']
)
def test_a_file_that_is_none_is_refused_without_its_content(file: Path, content: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="no key file of millrace"):
        load_keys(file, create=True)
    assert file.read_text() == content


def test_a_key_of_another_length_is_refused(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(msgspec.json.encode(dict.fromkeys((*GENERAL, "kek"), "c2hvcnQ=")))
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="32 bytes"):
        load_keys(file, create=False)


def golden(file: str) -> dict[str, bytes]:
    found = msgspec.json.decode((GOLDEN / file).read_bytes(), type=dict[str, str])
    return {name: bytes.fromhex(value) for name, value in found.items()}


@pytest.mark.parametrize("file", ["sealed.1.json", "sealed.2.json"])
def test_what_each_release_sealed_opens(file: str, redis_url: str) -> None:
    said = golden(file)
    names, kek = Names("t"), bytes(range(32))
    client = redis.Redis.from_url(redis_url)
    client.hset(names.data_keys + b"%d" % (int.from_bytes(ANA[:4]) % 16), ANA, said["wrapped"])
    key = DataKeys(client, names, wrapping(kek, deployment="shop"), 16, "shop").of([ANA])[ANA]
    assert key.open("email", said["email"]) == b'"ana@example.com"'
    assert key.open("archive", said["archive"]) == b"an event"
    assert key.open("match", said["match"]) == b"a record"
    assert LogSeal(bytes(range(32, 64)), "shop").open(said["log"]) == b"an entry of a log"


@pytest.mark.parametrize(("file", "versions"), [("keys.1.json", [1]), ("keys.2.json", [1, 2])])
def test_a_key_file_of_each_release_is_read(file: str, versions: list[int], tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes((GOLDEN / file).read_bytes())
    path.chmod(0o600)
    document = load_document(path)
    assert load_keys(path, create=False) == KeyRing(
        bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32, "f380889a841084ef"
    )
    assert [*document.keks] == versions


def test_a_key_file_whose_keys_are_of_two_is_refused(file: Path) -> None:
    load_keys(file, create=True)
    found = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    file.write_bytes(msgspec.json.encode(found | {"log": found["sign"]}))
    with pytest.raises(ConfigError, match="its keys are not those of fingerprint"):
        load_keys(file, create=False)


@given(start=st.binary(min_size=11, max_size=11), plain=st.binary(max_size=40))
def test_what_older_releases_sealed_opens_whatever_it_begins_with(start: bytes, plain: bytes) -> None:
    """It had no form in front, and one nonce in 256 begins as a form does."""
    nonce, aead = b"\x02" + start, AESGCM(KEK)
    assert LogSeal(KEK, "shop").open(nonce + aead.encrypt(nonce, plain, b"log")) == plain
    sealed = nonce + aead.encrypt(nonce, plain, ANA + b"email")
    assert DataKey(ANA, KEK, b"", "shop").open("email", sealed) == plain


@given(plain=st.binary(max_size=200))
def test_a_log_record_opens_again(plain: bytes) -> None:
    seal = LogSeal(KEK)
    assert seal.open(seal.seal(plain)) == plain
    assert seal.seal(plain) != seal.seal(plain)


def test_a_log_record_is_its_deployments() -> None:
    with pytest.raises(Foreign):
        LogSeal(KEK, "other shop").open(LogSeal(KEK, "shop").seal(b"secret"))


def test_a_key_for_logs_is_given_up_for_a_fresh_one_before_it_is_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys_module, "SEALS_MAX", 3)
    monkeypatch.setattr(keys_module, "SALTS_MAX", 2)
    seal = LogSeal(KEK)
    sealed = [seal.seal(b"%d" % n) for n in range(10)]
    uses = Counter(each[1 : 1 + SALT_BYTES] for each in sealed)
    assert sorted(uses.values()) == [1, 3, 3, 3]
    reader = LogSeal(KEK)
    assert [reader.open(each) for each in sealed] == [b"%d" % n for n in range(10)]
    assert SEALS < 2**32


@pytest.mark.parametrize("at", [0, 1, 1 + SALT_BYTES, 1 + SALT_BYTES + NONCE_BYTES, -1])
def test_a_changed_log_record_is_foreign(at: int) -> None:
    sealed = bytearray(LogSeal(KEK).seal(b"secret"))
    sealed[at] ^= 1
    with pytest.raises(Foreign):
        LogSeal(KEK).open(bytes(sealed))


@pytest.mark.parametrize("sealed", [b"", b"short", b"x" * 12, b"x" * 40])
def test_what_was_never_sealed_is_foreign(sealed: bytes) -> None:
    with pytest.raises(Foreign):
        LogSeal(KEK).open(sealed)


def test_a_field_is_bound_to_its_customer_and_name() -> None:
    key = DataKey(ANA, KEK)
    sealed = key.seal("email", b"ana@x.de")
    assert key.open("email", sealed) == b"ana@x.de"
    assert key.open("phone", sealed) is None
    assert DataKey(BOB, KEK).open("email", sealed) is None
    assert DataKey(ANA, bytes(32)).open("email", sealed) is None
    assert DataKey(ANA, KEK, b"", "other shop").open("email", sealed) is None
    assert key.open("email", b"\x03" + sealed[1:]) is None, "the form is bound too"
    assert b"ana" not in sealed


def test_what_archive_and_matching_keep_is_not_sealed_under_the_key_of_the_fields() -> None:
    """One of them may be handed on; none gives the others away."""
    made: dict[str, str] = {}
    both = derived(KEK, b"data", 64)
    for field in ("email", "phone", ARCHIVED, MATCHED):
        sealed = DataKey(ANA, KEK).seal(field, b"x")
        [made[field]] = [
            use
            for use, key in {"data key": KEK, "fields": both[:32], "apart": both[32:]}.items()
            if opens(key, field, sealed)
        ]
    assert made == {"email": "fields", "phone": "fields", ARCHIVED: "apart", MATCHED: "apart"}


def opens(key: bytes, field: str, sealed: bytes) -> bool:
    bound = b"\x02" + b"\0\0" + ANA + field.encode()
    try:
        return AESGCM(key).decrypt(sealed[1:13], sealed[13:], bound) == b"x"
    except InvalidTag:
        return False


def test_data_keys_are_made_when_asked_for_and_are_the_same_for_everybody(redis_url: str) -> None:
    ours, theirs = data_keys(redis_url), data_keys(redis_url)
    assert ours.of([ANA]) == {}
    made = ours.of([ANA, BOB, ANA], create=True)
    assert set(made) == {ANA, BOB}
    assert theirs.of([ANA], create=True)[ANA].open("f", made[ANA].seal("f", b"x")) == b"x"
    assert theirs.of([BOB])[BOB].open("f", made[ANA].seal("f", b"x")) is None
    assert set(theirs.of([ANA, b"c" * 12])) == {ANA}


def test_another_key_file_is_one_clear_line(redis_url: str) -> None:
    data_keys(redis_url).of([ANA], create=True)
    with pytest.raises(Foreign, match="another key file"):
        data_keys(redis_url, kek=bytes(KEY_BYTES)).of([ANA])


def test_data_keys_lie_wrapped(redis_url: str) -> None:
    sealed = data_keys(redis_url).of([ANA], create=True)[ANA].seal("f", b"x")
    client = redis.Redis.from_url(redis_url)
    [bucket] = client.scan_iter(match=Names("t").data_keys + b"*")
    (wrapped,) = client.hvals(bucket)
    assert len(wrapped) == HEAD_BYTES + KEY_BYTES + 8
    assert DataKey(ANA, wrapped[HEAD_BYTES:][:KEY_BYTES]).open("f", sealed) is None


def test_a_destroyed_key_opens_nothing_any_more_and_a_new_one_neither(redis_url: str) -> None:
    sealed = data_keys(redis_url).of([ANA], create=True)[ANA].seal("f", b"x")
    redis.Redis.from_url(redis_url).flushall()
    fresh = data_keys(redis_url)
    assert fresh.of([ANA]) == {}
    assert fresh.of([ANA], create=True)[ANA].open("f", sealed) is None


def test_who_was_erased_gets_no_key_again_from_whichever_worker(redis_url: str) -> None:
    one, other = data_keys(redis_url), data_keys(redis_url)
    one.of([ANA], create=True)
    other.of([ANA, BOB], create=True)
    one.destroy([ANA])
    assert one.of([ANA, BOB], create=True).keys() == {BOB}
    assert other.current([ANA, BOB])[0] is None
    other.forget()
    assert other.of([ANA, BOB], create=True).keys() == {BOB}
    assert list(other.destroyed()) == [ANA]
    assert data_keys(redis_url).of([ANA]) == {}
