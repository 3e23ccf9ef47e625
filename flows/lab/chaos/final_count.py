"""The count at the end: the book of the publishers, against the profiles, the triggers that arrived, and a
twin in memory; what was withheld and who was erased included, each as its customer wanted it.

The twin is fed from the archive, that is with the same windows, ticks, rules, models and messages between
shards, in the order of the directory's journal, by one worker that nothing ever happens to. Equal digests:
the disturbed deployment is the undisturbed one.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import msgspec

from connectors.raw.log import START
from flows.lab.chaos.booked_traffic import Book, Sent
from flows.lab.chaos.consent_count import (
    Refused,
    WatchedDirectory,
    by_the_receiver,
    raw_of,
    refused_without_reason,
    sent_against,
)
from flows.lab.chaos.journal_watch import JournalWatch
from flows.lab.chaos.leavers import Asked, Erasures, judge_erasures
from flows.lab.chaos.site import CRM, GONE, ON_ORDER, SHARDS, Site
from flows.lab.demo.trigger_receiver import Got
from flows.logic.shard.machine import ShardMachine
from flows.profile import Worker
from flows.runtime import rules_in_force
from flows.runtime import snapshots as model_travel
from flows.runtime.archived_windows import unpacked
from flows.runtime.deployment import Deployment
from flows.runtime.snapshots import sender
from flows.services.restore import Quiet, drained
from flows.services.subjects.sweeping import sweep_lanes
from schemas.config import Config
from schemas.records.identity_graph import ID_BYTES
from schemas.records.journal import JournalKind, WindowContent
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import NotSent
from schemas.wire.triggers import Trigger
from state import state_digest
from state.digest_entries import Sealing, Unseal
from state.directory.graph import ERASED
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_shards import MemoryShards
from state.redis.client import reported
from state.shards.shard_protocols import Outbox, Shards

CONSUMERS = {
    Lane.TRIGGERS: (CRM, GONE),
    Lane.ABSORBS: ("internal",),
    Lane.EXAMPLES: (sender("churn"),),
}  # of the outboxes' lanes
_PLENTY = 2**53
_DRAIN_EVERY = 50
_LOOK_S = 0.1
_not_sent = msgspec.msgpack.Decoder(NotSent).decode
_trigger = msgspec.msgpack.Decoder(Trigger).decode


class Loss(msgspec.Struct, frozen=True):
    """Something that is wrong with one message; without a message it is wrong with somebody's profile."""

    kind: str  # "lost" or "doubled"
    what: str
    message: str = ""
    times: int = 1


class Verdict(msgspec.Struct, frozen=True):
    losses: list[Loss]
    same: bool  # the twin's digest is that of the deployment
    digest: str
    triggers: int  # that should have arrived by now, by the twin
    cut: int  # acknowledged messages that went with a log's tail, as its policy says
    taken_back: int  # triggers that came from a second that Redis lost, and did not come again
    windows: int
    withheld: int  # events that are not kept, as their customers want it
    refused: int  # triggers that the door refused, as their customers want it
    stored_without_consent: list[str]
    sent_without_consent: list[str]
    erasures: Erasures
    findings: list[str]


# --- before it stops ---


def is_drained(config: Config) -> bool:
    """Return whether everything that was in a log when this was called has gone on, and is delivered. Raises
    `Unreachable`."""
    deployment = Deployment(config)
    with reported():
        directory, shards, outbox = deployment.directory, deployment.shards, deployment.outbox
        reader = deployment.raw_reader()
        try:
            offsets = directory.offsets()
            reader.assign({partition: offsets.get(partition, START) for partition in reader.partitions()})
            if any(reader.lag().values()):
                return False
        finally:
            reader.close()
        heads = directory.heads()
        states = shards.heads()
        # An idle shard commits its clock every two seconds.
        while any(states[shard].offset < heads[shard] for shard in heads):
            time.sleep(_LOOK_S)
            states = shards.heads()
        return all(_delivered(outbox, shards, lane) for lane in (Lane.ABSORBS, Lane.TRIGGERS))


def _delivered(outbox: Outbox, shards: Shards, lane: str) -> bool:
    ends = {shard: head.outbox.get(lane, 0) for shard, head in shards.heads().items()}
    return all(
        outbox.cursors(lane, consumer)[shard] >= end
        for consumer in CONSUMERS[lane]
        for shard, end in ends.items()
    )


# --- the twin ---


class Twin:
    """The deployment as it is when nothing goes wrong."""

    def __init__(self, config: Config, book: Book, arrived: Sequence[Got]) -> None:
        deployment = Deployment(config)
        self._keys, self._book = deployment.data_keys, book
        self._entries = [*deployment.archive.entries(0)]
        self.refused = [
            Refused(found.entry.seq, found.entry.body[:ID_BYTES], _not_sent(found.entry.body[ID_BYTES:]))
            for found in self._entries
            if found.entry.kind == JournalKind.NOT_SENT
        ]
        asked = {*(bytes.fromhex(got.customer) for got in arrived), *(one.customer for one in self.refused)}
        self.directory = WatchedDirectory(deployment.layout, _PLENTY, deployment.identifiers.of, asked)
        self.shards = MemoryShards(SHARDS)
        self.emitted: list[tuple[int, int, Trigger]] = []  # shard, sequence
        self.committed: Counter[str] = Counter()  # how often each message is in a window
        self.taken: set[str] = set()  # messages in windows, what was withheld or refused included
        self.untold = 0  # events of who was erased of which nothing is left
        self.windows = 0
        quiet: Any = _Quiet(self.directory)
        self._worker = _worker(config, quiet, self.shards)

    def live(self) -> None:
        """Live through the whole journal. Raises `Foreign` where the archive cannot be read."""
        since = 0
        for found in self._entries:
            entry = found.entry
            if entry.kind == JournalKind.WINDOW:
                self._window(unpacked(entry.content))
            else:
                self.directory.replay(entry)
            since += 1
            if since % _DRAIN_EVERY == 0:
                drained(self._worker)
        drained(self._worker)
        for shard in range(SHARDS):
            self.emitted += [
                (shard, entry.seq, _trigger(entry.body)) for entry in self.shards.outbox[shard, Lane.TRIGGERS]
            ]
        self.committed.update(message for message, _ in self.directory.landed)
        sweep_lanes(self.shards, range(SHARDS), SHARDS, {"erased": self.erased})

    @property
    def erased(self) -> frozenset[bytes]:
        """Return the origins of who was erased."""
        return frozenset(origin for origin, mark in self.directory.graph.marks.items() if mark == ERASED)

    def kept(self) -> set[str]:
        """Return the messages that count for somebody who was not erased."""
        erased = self.erased
        return {message for message, origin in self.directory.landed if origin not in erased}

    def _window(self, content: WindowContent) -> None:
        raw, untold = raw_of(content, self._keys, self._book)
        self.directory.live(content.commit, raw)
        self.taken.update(msgspec.json.decode(event.value)["messageId"] for _, _, event in raw)
        self.untold += untold
        self.windows += 1


class _Quiet:
    """A directory that ticks only as the journal says."""

    def __init__(self, directory: MemoryDirectory) -> None:
        self._directory = directory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._directory, name)

    def tick(self) -> bool:
        return False


def _worker(config: Config, directory: Any, shards: Any) -> Worker:
    """Of all shards; catches up with what is in their logs."""
    rules = rules_in_force.rules_loader(directory, config.shards)
    return Worker(
        range(SHARDS),
        directory,
        shards,
        ShardMachine(rules, model_travel.scorers(directory, Deployment(config).signer)),
        cache=config.shards.cache,
        outbox_max=_PLENTY,
        clock_ms=lambda: 0,
        clock=count(step=10).__next__,  # each look at it is late enough for an idle shard to be committed
    )


# --- the count ---


def judge(site: Site, asked: Sequence[Asked], watch: JournalWatch) -> Verdict:
    """Judge a deployment that has stopped, with its Redis started again for this. `asked`: for which
    erasures. Raises `Foreign`, `Unreachable`."""
    config, book, findings = site.config, site.book, []
    deployment = Deployment(config)
    with reported():
        client, names, layout = deployment.client, deployment.names, deployment.layout
        quiet = Quiet(client, names, layout, log_max=_PLENTY)
        shards, outbox = deployment.shards, deployment.outbox
        drained(_worker(config, quiet, shards))  # the last ticks
        arrived = site.crm.all()
        twin = Twin(config, book, arrived)
        twin.live()
        if (missing := deployment.journal.head() - len(twin.directory.journal)) != 0:
            findings.append(f"the archive lacks {missing} entries of the journal")
        delivered = _trim(outbox, twin.shards)
        unseal = _Counting(state_digest.as_said(deployment.data_keys))
        ours = state_digest.Reading(client, names, layout, deployment.directory, unseal).digest()
        theirs = state_digest.of_memory(
            twin.directory, twin.shards, state_digest.as_said(deployment.data_keys)
        )
        profiles = list(_profiles(config, book, twin))
        erasures = judge_erasures(deployment, asked, watch, book, site.crm.deletions.__contains__)
    findings += _differences(ours, theirs)
    if ours.directory.digest != theirs.directory.digest:
        findings += _counted_otherwise(deployment.directory.stats(), twin.directory.stats())
    if unseal.closed:
        profiles.append(Loss("lost", f"{unseal.closed} sealed fields cannot be opened", times=unseal.closed))
    refused, erased = by_the_receiver(twin.refused), twin.erased
    due = {
        trigger.id
        for shard, seq, trigger in twin.emitted
        if CRM in trigger.to
        and seq <= delivered[shard]
        and trigger.id not in refused
        and bytes.fromhex(trigger.customer) not in erased
    }
    denied, gone = sent_against(arrived, twin.directory.states, watch, site.paused_ms)
    if gone:
        findings.append(f"{len(gone)} triggers were sent about customers who had been erased")
    if unjust := refused_without_reason(twin.refused, twin.directory.states, watch):
        findings.append(f"{len(unjust)} triggers were refused at the door without a reason")
    emitted = {trigger.id for _, _, trigger in twin.emitted}
    taken_back = [got for got in arrived if got.id not in emitted]
    if taken_back and not site.went_back:
        findings.append(
            f"{len(taken_back)} triggers were delivered that are not in the "
            "history, though Redis lost nothing"
        )
    if site.crm.forged:
        findings.append(f"{site.crm.forged} deliveries were signed wrongly")
    losses = [*_messages(book, twin), *_triggers(book, arrived, twin, due), *profiles]
    return Verdict(
        losses=losses,
        same=ours.whole == theirs.whole,
        digest=ours.whole,
        triggers=len(due),
        cut=sum(sent.doubtful and message not in twin.committed for message, sent in book.messages.items()),
        taken_back=len(taken_back),
        windows=twin.windows,
        withheld=len(twin.taken & book.messages.keys() - twin.committed.keys()),
        refused=len(refused),
        stored_without_consent=twin.directory.witness.stored,
        sent_without_consent=[
            f"{got.id} of rule {got.rule}, about {got.cause}, to {got.customer}" for got in denied
        ],
        erasures=erasures,
        findings=findings,
    )


def _trim(outbox: Outbox, twin: MemoryShards) -> dict[int, int]:
    """What has been taken goes from the outboxes of both. Gives how far triggers were delivered."""
    delivered = {}
    for lane, consumers in CONSUMERS.items():
        for consumer in consumers:
            cursors = outbox.cursors(lane, consumer)
            twin.advance(lane, consumer, cursors)
            if consumer == CRM:
                delivered = cursors
        outbox.trim(lane, consumers)
        twin.trim(lane, consumers)
    return delivered


def _differences(ours: state_digest.Digest, theirs: state_digest.Digest) -> Iterator[str]:
    pairs = [("the directory", ours.directory, theirs.directory)]
    pairs += [
        (f"shard {shard}", our, their)
        for shard, (our, their) in enumerate(zip(ours.shards, theirs.shards, strict=True))
    ]
    for name, our, their in pairs:
        if our != their:
            yield (
                f"{name} has {our.entries} entries at {our.position}, its twin {their.entries} at "
                f"{their.position}, and they differ"
            )


def _counted_otherwise(ours: Mapping[str, int], theirs: Mapping[str, int]) -> Iterator[str]:
    for name in sorted({*ours, *theirs}):
        if ours.get(name, 0) != theirs.get(name, 0):
            yield f"the directory counts {ours.get(name, 0)} {name}, its twin {theirs.get(name, 0)}"


class _Counting:
    """Counts what no key opens: of who was erased nothing is left that is sealed."""

    def __init__(self, unseal: Unseal) -> None:
        self._unseal = unseal
        self.closed = 0

    def __call__(self, values: Sequence[Sealing]) -> list[bytes]:
        found = self._unseal(values)
        self.closed += sum(not value.startswith(b"plain:") for value in found)
        return found


def _messages(book: Book, twin: Twin) -> Iterator[Loss]:
    """Every acknowledged message is in a window; of some of who was erased it is known only that they are."""
    missing = [
        message
        for message, sent in book.messages.items()
        if sent.acknowledged_s is not None and not sent.doubtful and message not in twin.taken
    ]
    for message in missing[twin.untold :]:
        yield Loss("lost", "acknowledged, and in no window", message)
    for message in twin.committed.keys() - book.messages.keys():
        yield Loss("doubled", "in a window, and nobody sent it", message)


def _triggers(book: Book, arrived: Sequence[Got], twin: Twin, due: set[str]) -> Iterator[Loss]:
    """Each that was emitted has arrived; each order has exactly one."""
    by_cause: dict[str, set[str]] = {}
    for got in arrived:
        if got.rule == ON_ORDER:
            by_cause.setdefault(got.cause, set()).add(got.id)
    ids = {got.id for got in arrived}
    for _, _, trigger in twin.emitted:
        if trigger.id in due and trigger.id not in ids:
            yield Loss("lost", f"a trigger of rule {trigger.rule}", trigger.cause)
    kept = twin.kept()
    for message, sent in book.messages.items():
        if sent.paid is not None and message in kept and message not in by_cause:
            yield Loss("lost", "an order's trigger", message)
    for cause, found in by_cause.items():
        if len(found) > 1:
            yield Loss("doubled", "an order's trigger, under several ids", cause, len(found) - 1)
    # an event that is sent again after its customer was erased fires for somebody else
    fired = Counter((trigger.id, trigger.customer) for _, _, trigger in twin.emitted)
    for (twice, _customer), times in fired.items():
        if times > 1:
            yield Loss("doubled", f"trigger {twice} was emitted again", times=times - 1)


def _profiles(config: Config, book: Book, twin: Twin) -> Iterator[Loss]:
    """Every person's committed messages count once, in all figures, but for those that went with who was
    erased. (What is committed is checked by `_messages`.)"""
    read = Deployment(config).profile_reader
    wanted: dict[str, list[Sent]] = {person: [] for person in book.sessions}
    kept = twin.kept()
    for message, sent in book.messages.items():
        if message in kept:
            wanted[sent.person].append(sent)
    for person, messages in wanted.items():
        places = [("user_id", person), *(("anonymous", session) for session in sorted(book.sessions[person]))]
        found = {profile["customer"]: profile for place in places if (profile := read(*place))}
        orders = [sent.paid for sent in messages if sent.paid is not None]
        for figure, truth, counted in (
            ("events", len(messages), sum(profile["events"] for profile in found.values())),
            (
                "orders",
                len(orders),
                sum(profile["aggregates"].get("orders") or 0 for profile in found.values()),
            ),
            ("paid", sum(orders), sum(profile["aggregates"].get("paid") or 0 for profile in found.values())),
        ):
            if counted != truth:
                kind = "lost" if counted < truth else "doubled"
                yield Loss(
                    kind,
                    f"{person} has {counted:g} {figure}, sent were {truth}",
                    times=abs(round(counted - truth)),
                )
