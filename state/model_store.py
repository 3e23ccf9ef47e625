"""What the trainer of a model commits: the model, how far it has read, and what it told the shards, all in
one write.

Signer        HMAC-SHA256 over everything of a model that is stored or sent
Checkpoint    one trainer at one moment
ModelStore    keeps the last checkpoint of each model, and refuses all writers but the newest
"""

import hmac
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

import msgspec
import redis

from schemas.errors import Fenced, Foreign
from schemas.wire.events import Unlearnt
from state.dead_letter_logs import DeadExample
from state.redis.client import wait_for, writing
from state.redis.names import Names

UNLEARNT_MAX = 10_000  # the oldest go first
CHECKPOINT_BYTES_MAX = 16 * 1024 * 1024
_FORMAT = 1
_MAC_BYTES = 32
_KEY_BYTES_MIN = 16


class Signer:
    """Signs bytes for a purpose: what was signed as one thing is not accepted as another."""

    def __init__(self, key: bytes) -> None:
        """`key`: secret, at least 16 random bytes."""
        if len(key) < _KEY_BYTES_MIN:
            raise ValueError(
                f"the key that signs models has {len(key)} bytes, expected at least {_KEY_BYTES_MIN}"
            )
        self._key = key

    def sign(self, purpose: str, body: bytes) -> bytes:
        """Return the signature (32 bytes), then `body`."""
        return self._mac(purpose, body) + body

    def verify(self, purpose: str, signed: bytes) -> bytes:
        """Return the body. Raises `Foreign` unless this key signed it for this purpose."""
        body = signed[_MAC_BYTES:]
        if not hmac.compare_digest(signed[:_MAC_BYTES], self._mac(purpose, body)):
            raise Foreign(f"{purpose}: the signature is wrong: damaged, or signed with another key")
        return body

    def _mac(self, purpose: str, body: bytes) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\0" + body, "sha256")


class Announcement(msgspec.Struct, array_like=True, frozen=True):
    """A snapshot as it is announced to the shards: signed."""

    version: int
    body: bytes


class Checkpoint(msgspec.Struct, array_like=True, frozen=True):
    """One trainer at one moment."""

    trainer: bytes  # its whole state; may hold a pickle, so it is looked at only behind the signature
    positions: dict[int, int]  # shard -> sequence of the last example learnt, in the outbox lane
    tick: int  # second of the shards' clocks that the last example was merged under
    # said again at every start, in case the last one died before it could say them
    announced: list[Announcement]
    metrics: dict[str, float]
    format: int = _FORMAT


class Beside(msgspec.Struct, frozen=True):
    """What changes in the same write as a checkpoint."""

    unlearnt: Sequence[Unlearnt] = ()  # examples that the trainer raised on
    taken: Sequence[str] = ()  # readmitted ones that are learnt by now, or put aside again


NOTHING: Final = Beside()


class ModelStore(Protocol):
    """Raises `Unreachable` where the server cannot be reached."""

    def take(self, model: str) -> tuple[int, Checkpoint | None]:
        """Become the only trainer: the new revision, and the last checkpoint. Who had it before is refused
        from here on.

        Raises `Foreign` if the checkpoint is not signed with our key, or is of a newer release.
        """

    def last(self, model: str) -> Checkpoint | None:
        """Return the last checkpoint, to look at: nobody is replaced. Raises `Foreign` as `take` does."""

    def request_promotion(self, model: str, learner: str) -> None:
        """Ask the trainer, from outside, to make this learner the champion."""

    def promotion_requested(self, model: str) -> tuple[int, str]:
        """Return the number of the last request (0: none so far), and its learner. A trainer that
        remembers the number grants each once."""

    def readmit(self, dead: DeadExample) -> None:
        """Let an example that was put aside be learnt after all: it moves, at once."""

    def readmitted(self, model: str, count: int) -> list[tuple[str, bytes]]:
        """Return the oldest of these that are not yet learnt: id, packed `Example`."""

    def save(self, model: str, revision: int, checkpoint: Checkpoint, beside: Beside = NOTHING) -> int:
        """Replace the checkpoint of `revision`; returns the next revision.

        Raises `Fenced` if another trainer has taken the model, `Foreign` beyond 16 MB, `LogFull` where the
        server has no room. Then nothing is written.
        """


class RedisModels:
    """One hash for each model: `revision` and `checkpoint`, `wishes` and `wished`. `save` is a `WATCH` on it,
    and `MULTI`."""

    def __init__(self, client: redis.Redis, names: Names, signer: Signer, *, replicas: int = 0) -> None:
        self._redis = client
        self._names = names
        self._signer = signer
        self._replicas = replicas

    def take(self, model: str) -> tuple[int, Checkpoint | None]:
        key = self._names.model(model)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hincrby(key, "revision", 1)
        pipeline.hget(key, "checkpoint")
        revision, sealed = pipeline.execute()
        return revision, None if sealed is None else opened_checkpoint(self._signer, model, sealed)

    def last(self, model: str) -> Checkpoint | None:
        sealed = cast(bytes | None, self._redis.hget(self._names.model(model), "checkpoint"))
        return None if sealed is None else opened_checkpoint(self._signer, model, sealed)

    def request_promotion(self, model: str, learner: str) -> None:
        key = self._names.model(model)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hincrby(key, "wishes", 1)
        pipeline.hset(key, "wished", learner)
        with writing():
            pipeline.execute()

    def promotion_requested(self, model: str) -> tuple[int, str]:
        number, learner = cast(
            list[bytes | None], self._redis.hmget(self._names.model(model), ["wishes", "wished"])
        )
        return int(number or 0), (learner or b"").decode()

    def readmit(self, dead: DeadExample) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xadd(self._names.readmitted(dead.unlearnt.model), {"b": dead.unlearnt.body})
        pipeline.xdel(self._names.unlearnt, dead.id)
        with writing():
            pipeline.execute()

    def readmitted(self, model: str, count: int) -> list[tuple[str, bytes]]:
        found = cast(list[Any], self._redis.xrange(self._names.readmitted(model), count=count))
        return [(ident.decode(), fields[b"b"]) for ident, fields in found]

    def save(self, model: str, revision: int, checkpoint: Checkpoint, beside: Beside = NOTHING) -> int:
        sealed = sealed_checkpoint(self._signer, model, checkpoint)
        key = self._names.model(model)
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.watch(key)  # type: ignore[no-untyped-call]  # untyped in the library
            found = int(cast(bytes | None, pipeline.hget(key, "revision")) or 0)
            if found != revision:
                raise taken_by_another(model, revision, found)
            pipeline.multi()
            pipeline.hset(key, mapping={"revision": revision + 1, "checkpoint": sealed})
            for unlearnt in beside.unlearnt:
                pipeline.xadd(
                    self._names.unlearnt, {"b": _encode(unlearnt)}, maxlen=UNLEARNT_MAX, approximate=True
                )
            if beside.taken:
                pipeline.xdel(self._names.readmitted(model), *beside.taken)
            try:
                with writing():
                    pipeline.execute()
            except redis.WatchError as error:
                raise taken_by_another(model, revision, revision + 1) from error
        wait_for(self._redis, self._replicas)
        return revision + 1


def taken_by_another(model: str, revision: int, found: int) -> Fenced:
    """Return the error of a trainer that is not the newest any more."""
    return Fenced(
        f"model {model}: the checkpoint has revision {found}, expected {revision}: another trainer has taken"
        " it"
    )


def sealed_checkpoint(signer: Signer, model: str, checkpoint: Checkpoint) -> bytes:
    """Sign a checkpoint. Raises `Foreign` beyond 16 MB."""
    sealed = signer.sign(f"checkpoint:{model}", _encode(checkpoint))
    if len(sealed) > CHECKPOINT_BYTES_MAX:
        raise Foreign(
            f"model {model}: a checkpoint of {len(sealed)} bytes is larger than {CHECKPOINT_BYTES_MAX}"
        )
    return sealed


def opened_checkpoint(signer: Signer, model: str, sealed: bytes) -> Checkpoint:
    """Return what was signed. Raises `Foreign` if it was not with our key, or by a newer release."""
    body = signer.verify(f"checkpoint:{model}", sealed)
    try:
        checkpoint = _decode(body)
    except msgspec.MsgspecError as error:
        raise Foreign(f"model {model}: the checkpoint cannot be read by this release: {error}") from error
    if checkpoint.format > _FORMAT:
        raise Foreign(
            f"model {model}: the checkpoint has format {checkpoint.format}, this release reads up to"
            f" {_FORMAT}"
        )
    return checkpoint


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Checkpoint).decode
