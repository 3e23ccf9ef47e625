"""Flow `match`: the log of records -> candidates -> one commit on the directory: unions, reviews, and what is
kept for the next.

What our logic raises on is put aside, a dead letter of the commit without it, and the rest is matched as if
it had never come. One process: it is the only writer of the index. An entry of its log is a window of
`resolve`, so it never delays one. How common values are, and the weights, are a checkpoint of every few
seconds: after a death they may lack the records since.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog
from bytewax import operators as op
from bytewax.dataflow import Dataflow

from flows.logic.matching import Frequencies, Learner, Record, Thresholds
from flows.logic.matching.blocking import blocking_keys
from flows.logic.matching.lists import KeyList
from flows.logic.matching.stage import RECORDS_MAX, Members, Stage
from flows.runtime.engine import Stop, run_flow
from flows.runtime.patience import PatientKeys
from flows.runtime.release import BUILD
from flows.runtime.sift import Poison, note, sift, story
from flows.runtime.steps import each, steps_sink, steps_source
from schemas import metrics
from schemas.config import Config
from schemas.errors import Foreign
from schemas.records.identity_graph import ID_BYTES, Order, Put, WindowCommit
from schemas.records.match_log import AnyMatchKind, MatchKind
from schemas.wire.events import DeadLetter
from state.directory.directory_protocol import Directory
from state.directory.matches import PARTITION, SEALED_AS, Matches, Said
from state.keys import DataKey, DataKeys, LogSeal
from state.model_store import Signer
from state.redis.client import INFRASTRUCTURE

if TYPE_CHECKING:  # who runs this flow has made one; others need only its steps
    from flows.runtime.deployment import Deployment

log = structlog.get_logger()

READ = 64  # entries
BLOCK_MS = 200
CHECKPOINT_EVERY = 2_000  # records
# what this process remembers of customers is read again, so that it does not outlive `matching.keep`
REREAD_S = 86_400
STATE = b"state"
_encode = msgspec.msgpack.Encoder().encode
_decode_fields = msgspec.msgpack.Decoder(dict[str, str]).decode
Sealed = tuple[int, bytes]  # when it was said (Unix seconds), the sealed fields
_decode_kept = msgspec.msgpack.Decoder(list[Sealed]).decode
_decode_state = msgspec.msgpack.Decoder(tuple[bytes, Learner]).decode
Piece = tuple[bytes, bytes]
DECIDED_BYTES = 2 * ID_BYTES + 1


class Kept:
    """What the stage reads, opened: records lie sealed under the key of their origin."""

    def __init__(self, matches: Matches, keys: DataKeys | PatientKeys, keep_s: int) -> None:
        self.now_s = 0
        self.lists: Callable[[Sequence[bytes]], list[bytes | None]] = partial(matches.keep, "mk")
        self.cannot_link = matches.cannot_link
        self._matches = matches
        self._keys = keys
        self._keep_s = keep_s
        self._stored: dict[bytes, list[Sealed]] = {}  # what this step has read ...
        self._current: dict[bytes, DataKey | None] = {}  # ... and the data keys that it has asked for

    def customers(self, origins: Sequence[bytes]) -> list[tuple[bytes, Members]]:
        """Return the members of each customer with the data key of each origin: where it is another one, or
        gone, what was remembered is not valid any more."""
        found = self._matches.customers(origins)
        self._ask(origin for _, members in found for origin in members)
        current = self._current
        return [(root, [(origin, current[origin]) for origin in members]) for root, members in found]

    def _ask(self, origins: Iterable[bytes]) -> None:
        """Ask for the data keys as they are now."""
        missing = [origin for origin in dict.fromkeys(origins) if origin not in self._current]
        self._current.update(zip(missing, self._keys.current(missing), strict=True))

    def records(self, origins: Sequence[bytes]) -> list[list[Record]]:
        """Return the records of each origin, without those that are too old and those of customers who were
        erased."""
        found = self._matches.keep("mr", origins)
        held = self._keys.of(origin for origin, packed in zip(origins, found, strict=True) if packed)
        pairs = zip(origins, found, strict=True)
        return [
            self._opened(origin, held[origin], packed) if packed and origin in held else []
            for origin, packed in pairs
        ]

    def _opened(self, origin: bytes, key: DataKey, packed: bytes) -> list[Record]:
        opened = [(one, key.open(SEALED_AS, one[1])) for one in self._fresh(packed)]
        self._stored[origin] = [one for one, plain in opened if plain is not None]
        return [Record(_decode_fields(plain)) for _, plain in opened if plain is not None]

    def _fresh(self, packed: bytes) -> list[Sealed]:
        return [one for one in _decode_kept(packed) if self.now_s - one[0] <= self._keep_s]

    def incoming(self, said: Sequence[Piece]) -> list[tuple[bytes, Record]]:
        """Begin a step: open the records of one entry."""
        self._stored.clear()
        self._current.clear()
        self._ask(origin for origin, _ in said)
        opened = [
            (origin, key.open(SEALED_AS, sealed))
            for origin, sealed in said
            if (key := self._current[origin]) is not None
        ]
        return [(origin, Record.of(_decode_fields(plain))) for origin, plain in opened if plain is not None]

    def packed(self, origin: bytes, new: Sequence[Record]) -> bytes:
        """Return what an origin said before, as it lies there, and its new records."""
        key = self._current[origin]
        assert key is not None, "with a key its record was opened"
        sealed = [(self.now_s, key.seal(SEALED_AS, _encode(record.values))) for record in new]
        return _encode([*self._stored.get(origin, []), *sealed][-RECORDS_MAX:])

    def aged(self, bucket: int, but: Container[bytes]) -> Iterator[Put]:
        """Yield what has become too old in one bucket, to be written without it."""
        for origin, packed in self._matches.bucket(bucket).items():
            if origin not in but and len(fresh := self._fresh(packed)) < len(_decode_kept(packed)):
                yield Put("mr", origin, _encode(fresh) if fresh else None)


def pieces(kind: str, body: bytes) -> list[Piece]:
    """Return what an entry holds: records as (origin, sealed), or decisions as (origin, the other origin and
    `1` or `0`), or those to forget as (origin, nothing)."""
    if kind == MatchKind.ERASED:
        return [(body[at : at + ID_BYTES], b"") for at in range(0, len(body), ID_BYTES)]
    if kind == MatchKind.DECISIONS:
        return [
            (body[at : at + ID_BYTES], body[at + ID_BYTES : at + DECIDED_BYTES])
            for at in range(0, len(body), DECIDED_BYTES)
        ]
    found = []
    at = 0
    while at < len(body):
        start = at + ID_BYTES + 4
        end = start + int.from_bytes(body[at + ID_BYTES : start])
        found.append((body[at : at + ID_BYTES], body[start:end]))
        at = end
    return found


def joined(kind: str, piece: Piece) -> bytes:
    """Return an entry that holds this alone."""
    origin, rest = piece
    return origin + rest if kind != MatchKind.RECORDS else origin + len(rest).to_bytes(4) + rest


def opened(keys: DataKeys, origin: bytes, sealed: bytes) -> bytes | None:
    """Return what a record says, as JSON; None for an erased customer."""
    [key] = keys.current([origin])
    plain = None if key is None else key.open(SEALED_AS, sealed)
    return None if plain is None else msgspec.json.encode(_decode_fields(plain))


def no_content(_window: WindowCommit) -> bytes:
    """Return what the journal keeps of a window where there is no archive: nothing."""
    return b""


class Made(NamedTuple):
    """What follows from the pieces of an entry."""

    orders: list[Order]
    puts: list[Put]
    records: int = 0
    comparisons: int = 0


class Matcher:
    """The flow's steps."""

    def __init__(
        self,
        config: Config,
        directory: Directory,
        matches: Matches,
        keys: DataKeys | PatientKeys,
        signer: Signer,
        hash_key: bytes,
        seal: LogSeal,
        content: Callable[[WindowCommit], bytes] = no_content,
    ) -> None:
        """Go on from the last checkpoint. `content`: what the journal keeps of a window for the archive,
        where there is one."""
        self._content = content
        self._seal = seal
        self._directory = directory
        self._matches = matches
        self._signer = signer
        keep_s = config.matching.keep // 1000
        self._kept = Kept(matches, keys, keep_s)
        self._reread_s = min(REREAD_S, keep_s // 10)
        self._read_s = 0
        thresholds = Thresholds(merge=config.matching.merge, review=config.matching.review)
        self.stage = Stage(hash_key, thresholds, *self._state())
        self._position = matches.position()
        self._unsaved = 0  # records since the checkpoint
        self.comparisons = self.reviews = 0
        self._steps: dict[AnyMatchKind, Callable[[Sequence[Piece]], Made]] = {
            MatchKind.RECORDS: self._match,
            MatchKind.DECISIONS: self._learn,
            MatchKind.ERASED: self._forget,
        }

    def read(self, block_ms: int) -> list[Said]:
        """Return what has come. Raises `Unreachable`."""
        found = self._matches.said_since(self._position, READ, block_ms)
        metrics.LAG.labels("match", "log").set(self._directory.said_last() - self._position if found else 0)
        if found and (lost := found[0].seq - self._position - 1):
            metrics.MATCH_PASSED_OVER.inc(lost)
            log.warning("match_entries_passed_over", entries=lost, see="matching.log_max")
        return found

    def take(self, said: Said) -> None:
        """Match one entry, and commit. Raises `Fenced`, `LogFull`."""
        self.commit(self.judge(said))

    def judge(self, said: Said) -> WindowCommit:
        """Return what follows from one entry; to be called once for each, in order."""
        self._kept.now_s = said.time_ms // 1000
        if self._kept.now_s - self._read_s > self._reread_s:
            self._read_s = self._kept.now_s
            self.stage.forget_all()
        made, poison = self._made(said)
        self.comparisons += made.comparisons
        self.reviews += sum(order.kind == "review" for order in made.orders)
        self._unsaved += made.records
        metrics.MATCH_RECORDS.inc(made.records)
        puts = made.puts + self._aged(said.seq, {put.field for put in made.puts if put.table == "mr"})
        if said.kind == MatchKind.DECISIONS or self._unsaved >= CHECKPOINT_EVERY:
            self._unsaved = 0
            puts.append(
                self._signed("matcher", STATE, _encode((self.stage.frequencies.pack(), self.stage.learner)))
            )
        dead = [self._letter(said, index, piece, error) for (index, piece), error in poison]
        return WindowCommit(
            partition=PARTITION,
            before=self._position or -1,
            after=said.seq,
            groups=[],
            dead=dead,
            rejected={},
            orders=made.orders,
            time_ms=said.time_ms,
            puts=puts,
        )

    def _made(self, said: Said) -> tuple[Made, list[Poison[tuple[int, Piece]]]]:
        """Return what follows from an entry without the pieces of it that our logic raises on, and these.
        Raises `Fatal` if no piece is to blame."""
        take_back = self.stage.savepoint()
        step = self._steps[said.kind]
        found = [*enumerate(pieces(said.kind, said.body))]

        def attempt(some: Sequence[tuple[int, Piece]]) -> Made:
            take_back()
            return step([piece for _, piece in some])

        try:
            return step([piece for _, piece in found]), []
        except INFRASTRUCTURE:
            raise
        except Exception:  # noqa: BLE001  # `sift` finds out what it was
            return sift(found, attempt, f"entry {said.seq} of the log of matching cannot be matched")

    def _letter(self, said: Said, index: int, piece: Piece, error: Exception) -> bytes:
        """Return what is put aside, in the same commit. Its sealed fields stay sealed for their customer."""
        note("match", error, entry=said.seq, index=index)
        body = self._seal.seal(said.kind.encode() + joined(said.kind, piece))
        letter = DeadLetter(
            reason="poison",
            detail=story(error),
            partition=PARTITION,
            position=said.seq,
            index=index,
            source="match",
            received_ms=said.time_ms,
            rejected_ms=said.time_ms,
            sealed=body,
            build=BUILD,
        )
        return _encode(letter)

    def _aged(self, bucket: int, but: Container[bytes]) -> list[Put]:
        try:
            return list(self._kept.aged(bucket, but))
        except INFRASTRUCTURE:
            raise
        except Exception as error:  # noqa: BLE001  # what lies there is damaged: it stays until it is mended or erased
            note("match", error, bucket=bucket, then="what is too old in it stays")
            return []

    def commit(self, window: WindowCommit) -> None:
        """Commit. Raises `Fenced`, `LogFull`; after the latter it may be tried again."""
        self._directory.commit(window, self._content(window))
        self._position = window.after
        for order in window.orders:
            metrics.MATCH_VERDICTS.labels(order.kind).inc()

    def _match(self, said: Sequence[Piece]) -> Made:
        incoming = self._kept.incoming(said)
        step = self.stage.step(incoming, self._kept)
        puts = [Put("mk", key, packed) for key, packed in step.lists.items()]
        puts += [
            Put("mr", origin, self._kept.packed(origin, records)) for origin, records in step.records.items()
        ]
        if step.weights is not None:
            puts.append(self._signed("weights", b"weights:%d" % step.weights.version, _encode(step.weights)))
        return Made(step.orders, puts, len(incoming), step.comparisons)

    def _learn(self, decided: Sequence[Piece]) -> Made:
        for one, rest in decided:
            self.stage.label(one, rest[:ID_BYTES], rest[ID_BYTES:] == b"1", self._kept)
        return Made([], [])

    def _forget(self, gone: Sequence[Piece]) -> Made:
        """Drop what is kept of these: their records, and their places in the lists of blocking keys."""
        origins = [origin for origin, _ in gone]
        records = [record for found in self._kept.records(origins) for record in found]
        keys = [*dict.fromkeys(self.stage.hashed(key) for record in records for key in blocking_keys(record))]
        lists = {
            key: KeyList(packed) for key, packed in zip(keys, self._kept.lists(keys), strict=True) if packed
        }
        puts = [Put("mk", key, held.pack()) for key, held in lists.items() if held.forget(origins)]
        self.stage.forget(root for root, _ in self._kept.customers(origins))
        return Made([], puts + [Put("mr", origin, None) for origin in origins])

    def _signed(self, purpose: str, field: bytes, body: bytes) -> Put:
        return Put("matcher", field, self._signer.sign(purpose, body))

    def _state(self) -> tuple[Frequencies, Learner] | tuple[()]:
        """Return what it had learnt at the checkpoint; nothing where there is none, or somebody changed
        it."""
        [signed] = self._matches.keep("matcher", [STATE])
        if signed is None:
            return ()
        try:
            frequencies, learner = _decode_state(self._signer.verify("matcher", signed))
            return Frequencies.unpack(frequencies), learner
        except (Foreign, msgspec.MsgspecError) as error:
            log.error("match_state_refused", reason=str(error), now="the weights that it began with")
            return ()


# --- the dataflow


def dataflow(matcher: Matcher, stop: Stop) -> Dataflow:
    """Make the flow: records -> match and commit."""

    def take(said: Said) -> None:
        window = matcher.judge(said)
        stop.patiently(lambda: matcher.commit(window))

    flow = Dataflow("match")
    said = op.input("read", flow, steps_source(lambda: matcher.read(BLOCK_MS), stop))
    op.output("take", said, steps_sink(each(take), stop))
    return flow


def matcher_of(deployment: "Deployment", keys: PatientKeys | None = None) -> Matcher:
    """Return the flow's steps on this deployment. `keys`: those of a flow, which can wait."""
    from flows.runtime.archived_windows import match_packer

    config = deployment.config
    content = match_packer(config, deployment.log_seal) if config.archive.enabled else no_content
    return Matcher(
        config,
        deployment.directory,
        deployment.matches,
        keys=keys or deployment.data_keys,
        signer=deployment.signer,
        hash_key=deployment.keys.hash,
        seal=deployment.log_seal,
        content=content,
    )


def run(deployment: "Deployment") -> None:
    """Match until SIGTERM or SIGINT. There is one process of this flow. Raises `Fatal`."""
    stop = Stop()
    keys = PatientKeys(deployment.data_keys, stop.wait, "match")
    run_flow(dataflow(matcher_of(deployment, keys), stop), stop)
