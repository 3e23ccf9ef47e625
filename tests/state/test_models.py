"""The model store: one suite on Redis and on its memory twin."""

from collections.abc import Callable, Iterator

import pytest
import redis

from schemas.errors import Fenced, Foreign
from state.memory.memory_models import MemoryModels
from state.model_store import CHECKPOINT_BYTES_MAX, Announcement, Checkpoint, ModelStore, RedisModels, Signer
from state.redis.names import Names

KEY = bytes(range(32))
NAMES = Names("test")

Stores = Callable[[bytes], ModelStore]  # another store on the same data, with this key


@pytest.fixture(params=["memory", "redis"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "memory":
        first = MemoryModels(Signer(KEY))

        def same_memory(key: bytes) -> ModelStore:
            other = MemoryModels(Signer(key))
            other.__dict__.update(first.__dict__, _signer=Signer(key))
            return other

        yield same_memory
    else:
        with redis.Redis.from_url(request.getfixturevalue("redis_url")) as client:
            yield lambda key: RedisModels(client, NAMES, Signer(key))


@pytest.fixture
def store(stores: Stores) -> ModelStore:
    return stores(KEY)


def checkpoint(tick: int = 7, trainer: bytes = b"state") -> Checkpoint:
    return Checkpoint(
        trainer=trainer,
        positions={0: 3, 63: 9},
        tick=tick,
        announced=[Announcement(2, b"signed")],
        metrics={"log_loss": 0.25},
    )


def test_a_model_starts_without_a_checkpoint(store: ModelStore) -> None:
    assert store.take("churn") == (1, None)


def test_what_was_saved_is_taken(store: ModelStore) -> None:
    revision, _ = store.take("churn")
    store.save("churn", revision, checkpoint())
    assert store.take("churn")[1] == checkpoint()


def test_the_last_save_stands(store: ModelStore) -> None:
    revision, _ = store.take("churn")
    for tick in (1, 2, 3):
        revision = store.save("churn", revision, checkpoint(tick))
    assert store.take("churn") == (revision + 1, checkpoint(3))


def test_models_do_not_share_checkpoints(store: ModelStore) -> None:
    revision, _ = store.take("churn")
    store.save("churn", revision, checkpoint())
    assert store.take("other") == (1, None)


def test_a_trainer_that_was_replaced_is_fenced_and_writes_nothing(stores: Stores) -> None:
    zombie, trainer = stores(KEY), stores(KEY)
    old, _ = zombie.take("churn")
    new, _ = trainer.take("churn")
    with pytest.raises(Fenced, match="another trainer"):
        zombie.save("churn", old, checkpoint(1))
    new = trainer.save("churn", new, checkpoint(2))
    with pytest.raises(Fenced):
        zombie.save("churn", old, checkpoint(3))
    assert trainer.take("churn")[1] == checkpoint(2)


def test_of_two_trainers_with_the_same_revision_one_goes_on(stores: Stores) -> None:
    revision, _ = stores(KEY).take("churn")
    stores(KEY).save("churn", revision, checkpoint(1))
    with pytest.raises(Fenced):
        stores(KEY).save("churn", revision, checkpoint(2))


def test_a_checkpoint_signed_with_another_key_is_foreign(stores: Stores) -> None:
    revision, _ = stores(KEY).take("churn")
    stores(KEY).save("churn", revision, checkpoint())
    with pytest.raises(Foreign, match="signature"):
        stores(bytes(32)).take("churn")


def test_a_checkpoint_over_the_limit_is_refused_and_the_last_one_stands(store: ModelStore) -> None:
    revision, _ = store.take("churn")
    revision = store.save("churn", revision, checkpoint(1))
    with pytest.raises(Foreign, match="larger than"):
        store.save("churn", revision, checkpoint(2, trainer=bytes(CHECKPOINT_BYTES_MAX)))
    assert store.take("churn")[1] == checkpoint(1)


def test_a_checkpoint_of_a_newer_release_is_foreign(store: ModelStore) -> None:
    revision, _ = store.take("churn")
    store.save(
        "churn", revision, Checkpoint(trainer=b"", positions={}, tick=0, announced=[], metrics={}, format=99)
    )
    with pytest.raises(Foreign, match="format 99"):
        store.take("churn")


def test_a_checkpoint_is_one_key_in_a_slot_of_its_own(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        store = RedisModels(client, NAMES, Signer(KEY))
        revision, _ = store.take("churn")
        store.save("churn", revision, checkpoint())
        assert client.keys() == [b"test:{models}:churn:checkpoint"]


def test_a_damaged_checkpoint_in_redis_is_foreign(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        store = RedisModels(client, NAMES, Signer(KEY))
        revision, _ = store.take("churn")
        store.save("churn", revision, checkpoint())
        sealed = client.hget(NAMES.model("churn"), "checkpoint")
        client.hset(NAMES.model("churn"), "checkpoint", sealed[:-1] + bytes([sealed[-1] ^ 1]))
        with pytest.raises(Foreign, match="signature"):
            store.take("churn")


def test_a_writer_between_check_and_write_fences(redis_url: str) -> None:
    """The window between `WATCH` and `EXEC`: another trainer takes the model just after the revision was
    compared."""
    with redis.Redis.from_url(redis_url) as client, redis.Redis.from_url(redis_url) as other:
        store = RedisModels(client, NAMES, Signer(KEY))
        revision, _ = store.take("churn")
        plain = client.pipeline

        def interrupted(transaction: bool = True) -> redis.client.Pipeline:
            pipeline = plain(transaction)
            multi = pipeline.multi

            def take_first() -> None:
                RedisModels(other, NAMES, Signer(KEY)).take("churn")
                multi()

            pipeline.multi = take_first
            return pipeline

        client.pipeline = interrupted
        with pytest.raises(Fenced):
            store.save("churn", revision, checkpoint())
        assert other.hget(NAMES.model("churn"), "checkpoint") is None


@pytest.mark.parametrize("signed", [b"", b"short", bytes(32), bytes(40)])
def test_unsigned_bytes_are_foreign(signed: bytes) -> None:
    with pytest.raises(Foreign):
        Signer(KEY).verify("snapshot:churn", signed)


def test_a_signature_holds_for_its_purpose_only() -> None:
    signer = Signer(KEY)
    signed = signer.sign("checkpoint:churn", b"body")
    assert signer.verify("checkpoint:churn", signed) == b"body"
    with pytest.raises(Foreign):
        signer.verify("snapshot:churn", signed)


def test_every_flipped_bit_is_noticed() -> None:
    signer = Signer(KEY)
    signed = signer.sign("snapshot:churn", b"body")
    for at in range(len(signed) * 8):
        damaged = bytearray(signed)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(Foreign):
            signer.verify("snapshot:churn", bytes(damaged))


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Signer(b"secret")
