"""Flow `resolve`: raw log -> windows -> validated, grouped, sealed -> one atomic commit on the directory for
each window.

Worker k of n takes the source partitions at k modulo n. It holds no state: the directory's offset says where
to go on.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog
from bytewax import operators as op
from bytewax.dataflow import Dataflow

from connectors.raw.log import START, RawReader
from flows.logic.message import Checked
from flows.logic.resolution.consents import ConsentRules, Ruling
from flows.logic.resolution.identity_orders import OrderReader
from flows.logic.resolution.joint_window import Joint, group
from flows.logic.resolution.validation import Validator
from flows.runtime.archived_windows import WindowPacker
from flows.runtime.drafting import Drafting
from flows.runtime.engine import Stop, run_flow
from flows.runtime.limits import RejectBrake
from flows.runtime.patience import patiently
from flows.runtime.personal_notes import PersonalNotes
from flows.runtime.sift import note, sift, story, where
from flows.runtime.steps import steps_sink, steps_source
from flows.runtime.windows import Judged, Window, Windows
from schemas import metrics
from schemas.config import Config
from schemas.errors import Fenced, LogFull, Stale
from schemas.records.identity_graph import Group, Order, WindowCommit, WindowResult, text_id
from schemas.wire.events import DeadLetter, Reject
from state.directory.directory_protocol import Directory
from state.keys import DataKeys, LogSeal
from state.redis.client import INFRASTRUCTURE

if TYPE_CHECKING:  # who runs this flow has made one; others need only its steps
    from flows.runtime.deployment import Deployment

log = structlog.get_logger()

Made = TypeVar("Made")

STALE_RETRIES = 20
ALIAS_OF_USERS = Reject(
    "alias_of_users",
    "expected `previousId` to be a visitor's id: it is a user id, and two users never become one customer by "
    "an event",
)
SAY_AFTER_S, SAY_EVERY_S = 5.0, 60.0  # that a window finds no room, and where
_encode = msgspec.msgpack.Encoder().encode


class Resolver:
    """The flow's steps."""

    def __init__(
        self,
        config: Config,
        validator: Validator,
        directory: Directory,
        keys: DataKeys,
        seal: LogSeal,
        stop: Stop,
        clock: Callable[[], float] = time.time,
        positions: Mapping[str, int] | None = None,
        brake: RejectBrake | None = None,
    ) -> None:
        """Take over from where the directory is.

        `positions`: where the directory is now, for the partitions of this worker. `brake`: None where what
        is read was taken long ago.
        """
        self._validator = validator
        self._consents = ConsentRules(config, validator.categories)
        self._directory = directory
        self._keys = keys
        self._seal = seal
        self._stop = stop
        self._clock = clock
        self.brake = brake
        self._orders = OrderReader(
            validator.identifiers, [key.source for key in config.gateway.write_keys if key.merges]
        )
        self._suspended = frozenset(directory.suspended())
        self._erasures = directory.erasures()
        self._suppressed = directory.suppressed()  # as of then
        self._looked = self._erasures  # when it was last looked whether anybody is off that list
        self._drafting = Drafting(self._consents, directory, keys)
        self._committed = dict(positions or {})
        self._content: WindowPacker | None = None
        if config.archive.enabled:
            self._content = WindowPacker(config, keys, seal, self._consents.categories, directory.erased)

    def judge(self, window: Window, aliases: Collection[int] | None = None) -> Judged:
        """Validate the events of a window and group them; those of who was erased and is to stay unknown are
        left out, as if they had never come. `aliases`: the indexes of those refused, where that
        was decided before; None: the directory is asked."""
        checked: list[Checked] = []
        # aliases between users, perhaps: index in the window -> among the checked
        doubtful: dict[int, int] = {}
        rejects: list[tuple[int, Reject]] = []
        orders: list[tuple[int, Order]] = []
        check, listing = self._validator.check, self._validator.listing
        if listing is not None:  # from here on there is nothing else
            window = msgspec.structs.replace(window, events=[listing.of(raw) for raw in window.events])
        for index, raw in enumerate(window.events):
            try:
                found = check(raw)
                if type(found) is Checked:
                    if found.previous is not None:
                        doubtful[index] = len(checked)
                    checked.append(found)
                    continue
                # the other half of the union
                ordered = self._orders.read(raw, found)  # type: ignore[arg-type]
            except INFRASTRUCTURE:
                raise
            except Exception as error:  # noqa: BLE001  # a defect of ours must not stop the flow: the event is kept
                metrics.PUT_ASIDE.labels("resolve", where(error)).inc()
                ordered = Reject("poison", story(error))
            if type(ordered) is Order:
                orders.append((index, ordered))
            else:
                rejects.append((index, ordered))  # type: ignore[arg-type]  # as above
        judged = Judged(window, checked, [], rejects, orders, suppressed=self._suppressed)
        if self._suppressed and (unknown := self._suppressed_in(judged)):
            return self.judge(_without(window, unknown), aliases)
        if doubtful:
            self._refuse_aliases(judged, doubtful, aliases)
        try:
            judged.groups = self._grouped(judged.checked)
        except INFRASTRUCTURE:
            raise
        except Exception:  # noqa: BLE001  # `_sifted` finds out what it was
            return self._sifted(judged)
        return judged

    def _suppressed_in(self, judged: Judged) -> list[int]:
        """Return the indexes of the events of who is to stay unknown."""
        pairs = zip(judged.places(), judged.checked, strict=True)
        return [index for index, event in pairs if event.identifiers[0].hash in self._suppressed]

    def _refuse_aliases(
        self, judged: Judged, doubtful: Mapping[int, int], aliases: Collection[int] | None
    ) -> None:
        """Refuse aliases between two users. `doubtful`: index in the window -> among the checked."""
        refused: Collection[int]
        if aliases is None:
            refused = self._of_two_users(judged.checked, doubtful)
        else:
            refused = doubtful.keys() & set(aliases)
        gone = {doubtful[index] for index in refused}
        judged.checked = [event for at, event in enumerate(judged.checked) if at not in gone]
        more = [(index, ALIAS_OF_USERS) for index in refused]
        judged.rejects = sorted([*judged.rejects, *more], key=itemgetter(0))

    def _sifted(self, judged: Judged) -> Judged:
        """Return it without the events that cannot be grouped, sealed or packed, which become dead letters.
        Raises `Fatal` if no event is to blame."""
        now = int(self._clock() * 1000)
        placed: dict[int, Checked | Order] = dict(zip(judged.places(), judged.checked, strict=True))
        placed.update(judged.orders)

        def attempt(indices: Sequence[int]) -> Judged:
            some = set(indices)
            checked = [event for index in sorted(some) if isinstance(event := placed[index], Checked)]
            others = [(index, Reject("poison")) for index in placed if index not in some]
            orders = [(index, order) for index, order in judged.orders if index in some]
            part = Judged(
                judged.window,
                checked,
                self._grouped(checked),
                [*judged.rejects, *others],
                orders,
                suppressed=judged.suppressed,
            )
            groups, _ = self._drafting.groups(part, now, plan_all=True)
            if self._content is not None:
                self._content(part, _window_commit(part, groups))
            return part

        made, poison = sift(
            sorted(placed), attempt, f"a window of {judged.window.partition} cannot be committed"
        )
        for index, error in poison:
            note("resolve", error, partition=judged.window.partition, position=judged.window.positions[index])
        bad = [(index, Reject("poison", story(error))) for index, error in poison]
        made.rejects = sorted([*judged.rejects, *bad], key=itemgetter(0))
        return made

    def _of_two_users(self, checked: list[Checked], aliases: Mapping[int, int]) -> list[int]:
        """Return those of these aliases whose `previousId` is known as a user's, before or in this window,
        and not as a visitor's."""
        others = set(range(len(checked))) - set(aliases.values())
        here = {identifier.hash for at in others for identifier in checked[at].identifiers}
        # also of an alias: who it is for is a user
        here.update(event.identifiers[0].hash for event in checked)
        named = [hashed for at in aliases.values() for hashed in checked[at].previous or ()]
        here.update(
            hashed
            for hashed, root in zip(named, self._directory.lookup(named), strict=True)
            if root is not None
        )
        found = []
        for index, at in aliases.items():
            user, visitor = checked[at].previous or (b"", b"")
            if user in here and visitor not in here:
                found.append(index)
        return found

    def _grouped(self, checked: list[Checked]) -> list[Joint]:
        """Group those that share an identifier that is evidence."""
        no_evidence = self._suspended | self._suppressed
        if no_evidence:
            for event in checked:
                evidence = [
                    identifier for identifier in event.identifiers if identifier.hash not in no_evidence
                ]
                event.identifiers = evidence or event.identifiers[:1]
        return group([event.identifiers for event in checked])

    def commit(self, judged: Judged) -> Window | None:
        """Seal and commit, without what our own logic raises on; wait while a shard's log, or Redis, is full.

        Return None if the worker is to stop before there was room, or if the window's partition is to wait.
        """
        if self.brake is not None:
            now = int(self._clock() * 1000)
            if not self._patiently(
                partial(self.brake.passes, judged.window.partition, judged.window.events, judged.rejects, now)
            ):
                return None
        try:
            return self._commit(judged)
        except INFRASTRUCTURE:
            raise
        except Exception:  # noqa: BLE001  # `_sifted` finds out what it was
            return self._commit(self._sifted(judged))

    def _commit(self, judged: Judged) -> Window | None:
        """Commit; return None if the worker is to stop before there was room."""
        now = int(self._clock() * 1000)
        self._judge_anew(judged)
        for attempt in range(STALE_RETRIES):
            window = judged.window
            rejected = Counter[str](reject.reason for _, reject in judged.rejects)
            received = max((event.received_ms for event in window.events), default=0)
            try:
                dead = [self._letter(window, index, reject, now) for index, reject in judged.rejects]
                sealed = self._patiently(partial(self._drafting.groups, judged, now, plan_all=attempt > 0))
                if sealed is None:
                    return None
                groups, news = sealed
                commit = _window_commit(judged, groups)
                _add_consents(commit, judged.ruling)
                commit.dead, commit.rejected, commit.time_ms = dead, rejected, received
                commit.erasures = self._erasures
                result = self._patiently(partial(self._write, judged, commit))
            except Stale:
                self._catch_up(judged)
                continue
            if result is None:
                return None
            self._drafting.remember(news)
            self._note(judged)
            self._drafting.spoken = self._drafting.spoken or bool(commit.puts)
            self._committed[window.partition] = window.after
            if result.suspended:
                self._say_suspended()
            _measure(window, judged, result, rejected)
            return window
        raise Stale(f"a window of {judged.window.partition} was stale {STALE_RETRIES} times in a row")

    def _catch_up(self, judged: Judged) -> None:
        """Make the window again, by what is suspended and who is erased now: of who comes back the plain user
        id is not known any more."""
        self._drafting.spoken = self._directory.has_consents()
        self._suspended = frozenset(self._directory.suspended())
        erasures = self._directory.erasures()
        if erasures != self._erasures:
            self._erasures = erasures
            self._drafting.known.clear()
            self._keys.forget()
            if self._content is not None:
                self._content.forget()
            self._suppressed = self._directory.suppressed()
        if not self._judge_anew(judged):
            judged.groups = self._grouped(judged.checked)

    def _judge_anew(self, judged: Judged) -> bool:
        """Judge a window again, and return True, where somebody is to stay unknown who was not when it was
        judged: windows are judged while those before them wait for their commit."""
        if judged.suppressed is self._suppressed or not self._suppressed - judged.suppressed:
            return False
        judged.become(self.judge(judged.window))
        return True

    def _say_suspended(self) -> None:
        before, self._suspended = self._suspended, frozenset(self._directory.suspended())
        for identifier in sorted(self._suspended - before):
            log.warning(
                "identifier_suspended", identifier=text_id(identifier), see="millrace identity suspended"
            )

    def offsets(self) -> dict[str, int]:
        """Return where the directory is."""
        return self._directory.offsets()

    def confirm(self) -> None:
        """Check that what was committed still is; what a steward has released is evidence again from here on.
        Raises `Fenced`.

        A directory that came back without its last windows would otherwise be noticed by the next event only.
        """
        self._suspended = frozenset(self._directory.suspended())
        self.take_again()
        self._drafting.spoken = self._drafting.spoken or self._directory.has_consents()
        offsets = self._directory.offsets() if self._committed else {}
        for partition, after in self._committed.items():
            if offsets.get(partition, START) != after:
                raise Fenced(
                    f"{partition}: {after} was committed, the directory has {offsets.get(partition, START)}: "
                    "it came back older"
                )

    def take_again(self) -> None:
        """Take events again of whom a steward has taken off the list. Who is on it anew is heard of at the
        commit."""
        if not self._suppressed or (changes := self._directory.erasures()) == self._looked:
            return
        self._looked = changes
        if (known := frozenset(self._directory.suppressed())) < self._suppressed:
            self._suppressed = known

    def _write(self, judged: Judged, commit: WindowCommit) -> WindowResult:
        content = self._content(judged, commit) if self._content else b""
        with metrics.COMMIT_SECONDS.labels("resolve").time():
            return self._directory.commit(commit, content) if content else self._directory.commit(commit)

    def _patiently(self, step: Callable[[], Made]) -> Made | None:
        return patiently(step, self._stop.wait, _Waits())

    def _note(self, judged: Judged) -> None:
        """Count what looks like personal data; nothing of events of which customers refuse something."""
        ruling = judged.ruling
        for index, event in enumerate(judged.checked):
            if event.sampled is not None and (
                ruling is None or not (index in ruling.dropped or index in ruling.events)
            ):
                self._validator.note(event)

    def _letter(self, window: Window, index: int, reject: Reject, now: int) -> bytes:
        raw, position = window.events[index], window.positions[index]
        return _encode(
            DeadLetter(
                reason=reject.reason,
                detail=reject.detail.encode(errors="backslashreplace").decode(),
                partition=window.partition,
                position=position,
                index=index - window.positions.index(position),
                source=raw.source,
                received_ms=raw.received_ms,
                rejected_ms=now,
                sealed=self._seal.seal(raw.value),
            )
        )


def _window_commit(judged: Judged, groups: list[Group]) -> WindowCommit:
    window = judged.window
    return WindowCommit(
        partition=window.partition,
        before=window.before,
        after=window.after,
        groups=groups,
        dead=[],
        rejected={},
        orders=[order for _, order in judged.orders],
    )


def _add_consents(commit: WindowCommit, ruling: Ruling | None) -> None:
    """Add what customers have said in a window, and by what it was judged."""
    if ruling is None:
        commit.looked_at = None
    else:
        commit.puts, commit.looked_at = ruling.puts, ruling.looked_at


def _without(window: Window, suppressed: Collection[int]) -> Window:
    """Return a window without these events, which are counted and kept nowhere."""
    metrics.EVENTS_SUPPRESSED.inc(len(suppressed))
    kept = [index for index in range(len(window.events)) if index not in suppressed]
    return msgspec.structs.replace(
        window,
        events=[window.events[index] for index in kept],
        positions=[window.positions[index] for index in kept],
    )


def _measure(window: Window, judged: Judged, result: WindowResult, rejected: Counter[str]) -> None:
    metrics.WINDOW_EVENTS.observe(len(window.events))
    metrics.EVENTS_RESOLVED.inc(len(judged.checked))
    metrics.CUSTOMERS_CREATED.inc(result.created)
    metrics.CUSTOMERS_UNITED.inc(result.united)
    metrics.CUSTOMERS_DIVIDED.inc(result.divided)
    metrics.IDENTIFIERS_REFUSED.inc(result.refused)
    metrics.IDENTIFIERS_SUSPENDED.inc(result.suspended)
    for kind, n in sum(
        (Counter(event.removed) for event in judged.checked if event.removed), Counter[str]()
    ).items():
        metrics.PERSONAL_REMOVED.labels(kind).inc(n)
    for category, n in judged.ruling.removed.items() if judged.ruling else ():
        metrics.CONSENT_REMOVED.labels(category).inc(n)
    for reason, n in rejected.items():
        metrics.EVENTS_REJECTED.labels(reason).inc(n)


class _Waits:
    """Says that a window finds no room, and where: after a while, and then now and then."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._say_at = self._began + SAY_AFTER_S

    def __call__(self, full: LogFull) -> None:
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + SAY_EVERY_S
            log.warning("window_waits", behind=str(full), seconds=round(now - self._began))


class _Reading:
    """Reads windows; once a second it looks whether what was committed still holds, and which partitions
    wait."""

    def __init__(
        self, windows: Windows, reader: RawReader, resolver: Resolver, noted: PersonalNotes | None
    ) -> None:
        self._noted = noted
        self._windows = windows
        self._reader = reader
        self._resolver = resolver
        self._looked = 0.0

    def poll(self) -> list[Window]:
        """Return the windows that are complete."""
        ready = self._windows.poll()
        now = time.monotonic()
        if now - self._looked >= 1:
            self._looked = now
            self._look()
        return ready

    def _look(self) -> None:
        self._resolver.confirm()
        if self._noted is not None:
            self._noted.look()
        if (brake := self._resolver.brake) is not None:
            brake.look()
            waiting = [partition for partition in self._windows.partitions if brake.holds(partition)]
            self._windows.hold(waiting, self._resolver.offsets)
        for partition, entries in self._reader.lag().items():
            metrics.LAG.labels("resolve", partition).set(entries)

    def trim(self, windows: list[Window]) -> None:
        """Tell the reader what is committed."""
        self._reader.committed({window.partition: window.after for window in windows})


def dataflow(
    windows: Windows, reader: RawReader, resolver: Resolver, stop: Stop, noted: PersonalNotes | None = None
) -> Dataflow:
    """Make the flow: raw log -> judge -> commit -> trim. `noted`: what looks like personal data."""
    flow = Dataflow("resolve")
    reading = _Reading(windows, reader, resolver, noted)
    collected = op.input("windows", flow, steps_source(reading.poll, stop))
    judged = op.filter_map("judge", collected, stop.guard(resolver.judge))
    committed = op.filter_map("commit", judged, stop.guard(resolver.commit))
    op.output("committed", committed, steps_sink(reading.trim, stop))
    return flow


def run(deployment: "Deployment", worker: int, workers: int) -> None:
    """Be worker `worker` of `workers`, until a signal. Raises `Fatal`."""
    stop, config = Stop(), deployment.config
    reader = deployment.raw_reader()
    partitions = reader.partitions()[worker::workers]
    directory = deployment.directory
    offsets = directory.offsets()
    positions = {partition: offsets.get(partition, START) for partition in partitions}
    reader.assign(positions)
    log.info("resolve_starts", worker=worker, workers=workers, partitions=len(partitions))
    noted = PersonalNotes(deployment.personal_findings, worker)
    resolver = Resolver(
        config,
        deployment.validator(noted=noted.tally),
        directory,
        keys=deployment.data_keys,
        seal=deployment.log_seal,
        stop=stop,
        positions=positions,
        brake=deployment.reject_brake(),
    )
    try:
        run_flow(dataflow(Windows(reader, config.window, positions), reader, resolver, stop, noted), stop)
    finally:
        reader.close()
