"""The key file, and what is sealed with its keys."""

import multiprocessing
import stat
from pathlib import Path

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError, Foreign
from state.keys import KEY_BYTES, NONCE_BYTES, DataKey, DataKeys, KeyRing, LogSeal, load_keys
from state.redis.names import Names

ANA, BOB = b"a" * 12, b"b" * 12
KEK = bytes(range(KEY_BYTES))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "keys.json"


def data_keys(url: str, kek: bytes = KEK) -> DataKeys:
    return DataKeys(redis.Redis.from_url(url), Names("t"), kek, 16)


def test_a_key_file_is_made_once_for_its_owner_alone(file: Path) -> None:
    made = load_keys(file, create=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_keys(file, create=True) == load_keys(file, create=False) == made
    assert len({made.hash, made.log, made.sign, made.kek}) == 4
    assert list(file.parent.iterdir()) == [file]


def test_keys_are_never_printed(file: Path) -> None:
    made = load_keys(file, create=True)
    assert repr(made) == str(made) == "KeyRing(***)"


def _load(path: Path, gate: str, answers: "multiprocessing.Queue[bytes]") -> None:
    while not Path(gate).exists():
        pass
    answers.put(load_keys(path, create=True).kek)


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
    file.write_bytes(msgspec.json.encode(dict.fromkeys(KeyRing.__struct_fields__, "c2hvcnQ=")))
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="32 bytes"):
        load_keys(file, create=False)


@given(plain=st.binary(max_size=200))
def test_a_log_record_opens_again(plain: bytes) -> None:
    seal = LogSeal(KEK)
    assert seal.open(seal.seal(plain)) == plain
    assert seal.seal(plain) != seal.seal(plain)


@pytest.mark.parametrize("at", [0, NONCE_BYTES, -1])
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
    assert b"ana" not in sealed


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
    (bucket,) = client.keys()
    (wrapped,) = client.hvals(bucket)
    assert len(wrapped) == KEY_BYTES + 8
    assert DataKey(ANA, wrapped[:KEY_BYTES]).open("f", sealed) is None


def test_a_destroyed_key_opens_nothing_any_more_and_a_new_one_neither(redis_url: str) -> None:
    sealed = data_keys(redis_url).of([ANA], create=True)[ANA].seal("f", b"x")
    redis.Redis.from_url(redis_url).flushall()
    fresh = data_keys(redis_url)
    assert fresh.of([ANA]) == {}
    assert fresh.of([ANA], create=True)[ANA].open("f", sealed) is None
