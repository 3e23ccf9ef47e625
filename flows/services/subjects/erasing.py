"""The workflow of an erasure. Each step is done again by whoever finds it unfinished, and changes nothing the
second time; so it survives any death, and ends with one receipt. Until it begins it can be taken back.

    asked     what came in before the request is resolved first, as far as that takes no longer than
              `draining.DRAIN_S`. Where retention asks, the customer must not have been heard of until the
              commit that follows
    detached  one commit of the directory: no identifier, pair or order leads to the customer any more. What
              is on its way to it (a merge, an unmerge, a ring of message ids) arrives, and what it owes is
              paid: nobody else loses anything
    settled   the names by which receivers know it are put aside, sealed; its data keys are destroyed, in the
              copy as well: what archive and backups hold of it is unreadable from here on
    gone      the second commit: the directory forgets it, its shard hears of it and drops all
    swept     what waits in outboxes and lies among dead letters goes
    done      receivers have answered; the receipt is signed
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog

from flows.logic.shard.in_flight import pending
from flows.logic.shard.state import decode_profile
from flows.match import no_content
from flows.runtime.archived_windows import match_packer
from flows.runtime.deployment import Deployment
from flows.services.retention.silence import Found, look
from flows.services.steward.orders import Mark
from flows.services.subjects.draining import Drain, Drains
from flows.services.subjects.receipts import document
from flows.services.subjects.sweeping import Wanted, queued, sweep_dead_letters, sweep_lanes
from flows.services.subjects.telling import Telling, is_due, pack_names, unpack_names
from schemas.config import Connector
from schemas.errors import Foreign, Stale
from schemas.records.identity_graph import ID_BYTES, Identifier, Order, Put, WindowCommit, shard_of
from schemas.records.match_log import MatchKind
from schemas.records.outbox_lanes import Lane
from schemas.records.privacy_requests import ENDS, Answer, PrivacyRequest, Step
from state.directory.directory_protocol import Directory
from state.directory.ledger import Ledger
from state.shards.shard_protocols import Outbox, Shards

log = structlog.get_logger()

PARTITION: Final = "privacy"  # of the directory's commits
ORDERED: Final = "rights"  # of what is ordered beside the process `privacy`
MATCH_S: Final = 60.0  # that `match` may take to forget
UNSURE_S: Final = 600.0  # that may pass until it is known when a customer was last heard of
ASKED_MAX_MS: Final = 86_400_000  # what retention asked for earlier than this is not begun any more
LEARN_S: Final = 30.0  # that `learn` may take to come past what it was given
_ABOUT_MAX: Final = 1_000  # entries of the ledger about one origin
_replace = msgspec.structs.replace


class Keys(Protocol):
    """What this needs of the data keys."""

    def destroy(self, origins: Sequence[bytes]) -> None:
        """Destroy the keys of these origins, for ever."""


class Requests(Protocol):
    """Where requests are kept."""

    def get(self, name: str) -> PrivacyRequest | None: ...

    def everything(self) -> list[PrivacyRequest]: ...

    def save(self, before: PrivacyRequest, request: PrivacyRequest, *, finished: bool = False) -> bool: ...


@dataclass(frozen=True)
class Parts:
    """What an erasure works on: a deployment, or twins."""

    directory: Directory
    ledger: Ledger
    shards: Shards
    outbox: Outbox
    keys: Keys
    requests: Requests
    shard_count: int
    connectors: Sequence[Connector]
    matched: Callable[[], int] | None  # how far `match` has come; None where there is no such flow
    drain: Callable[[], Drain]
    names: Callable[[bytes], Mapping[str, str]]  # of a customer, for receivers
    copy_keys: Callable[[Sequence[bytes]], None]
    seal: Callable[[bytes], bytes]
    unseal: Callable[[bytes], bytes]
    dead_letters: Callable[[Mapping[str, Wanted]], Mapping[str, Counter[str]]]
    ask: Callable[[Connector, PrivacyRequest, Mapping[str, str], int], Answer]
    sign: Callable[[PrivacyRequest], bytes]
    content: Callable[[WindowCommit], bytes] = no_content
    held: Callable[[], Collection[bytes]] = tuple  # origins whom retention must not erase
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


class Erasing:
    """Takes the steps of erasures."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._drains = Drains(parts.drain, parts.clock_ms)
        self.resting: set[str] = set()  # requests about customers on hold
        self._released: dict[str, int] = {}  # those that were: when it was seen that they are no longer
        self._drain: tuple[int, Drain] | None = None  # for what retention asks: since when
        self._removed: dict[str, Counter[str]] = {}  # by `sweep_together`
        self._resolved_ms = 0  # all that came before then has been resolved
        self._steps: dict[str, Callable[[PrivacyRequest], PrivacyRequest | None]] = {
            Step.ASKED: self._asked,
            Step.DETACHED: self._detached,
            Step.SETTLED: self._settled,
            Step.GONE: self._gone,
            Step.SWEPT: self._swept,
        }

    def advance(self, request: PrivacyRequest) -> PrivacyRequest:
        """Take steps until one has to wait, or all are done; return the request as it is then. Raises
        `LogFull`, `Fenced`, `Unreachable`."""
        while request.step not in ENDS:
            after = self._steps[request.step](request)
            if after is None:
                break
            if self._parts.requests.save(request, after, finished=after.step == Step.DONE):
                request = after
                continue
            found = self._parts.requests.get(request.id)  # somebody else is at it, or wrote another one
            if found is None:
                raise Foreign(f"the request {request.id} is gone from Redis while it was worked on")
            request = found
        return request

    def sweep_together(self, requests: Sequence[PrivacyRequest]) -> None:
        """Do for all of these at once what each would read all lanes and dead letters for: for those that
        have come so far. Their next `advance` goes on from there."""
        applied = [one for one in requests if one.step == Step.GONE and self._is_applied(one)]
        if len(applied) < 2:
            return
        has_examples = self._has_examples(applied)  # nearly always none has: then it is one look for all
        ready = [one for one in applied if self._may_be_swept(one)] if has_examples else applied
        if ready:
            self._removed |= self._removed_of(ready)

    # --- the steps: each returns the request behind it, None where it has to wait

    def _asked(self, request: PrivacyRequest) -> PrivacyRequest | None:
        parts = self._parts
        if parts.clock_ms() < request.begins_ms:
            return None
        [erased] = parts.directory.erased([request.customer])
        if erased and not request.again and (not request.origins or self._other(request)):
            other = self._other(request)
            return self._at(request, Step.DONE, joined=other, note="" if other else "was erased before")
        if self._rests(request):
            return None
        if not request.again and not request.mark and not self._drained(request):
            return None
        if not request.origins:  # said first: whoever finds the customer detached knows by which request
            members, identifiers = parts.ledger.members(parts.directory.root(request.customer))
            if not members:
                return self._at(request, Step.DONE, note="nobody is known by this id")
            users = _users(identifiers)
            return _replace(request, origins=members, users=users, shards=self._shards(members))
        if not request.unheard_since_ms or erased:
            return self._detach(request)
        why_not, log_end = self._look(request)
        if log_end is None:
            return self._at(request, Step.DONE, note=why_not) if why_not else None
        try:
            return self._detach(request, log_end)
        except Stale:  # its shard has heard of something meanwhile: look again
            return None

    def _look(self, request: PrivacyRequest) -> tuple[str, int | None]:
        """Look whether a customer that nobody asked for may be erased still: return the last entry of its
        shard's log if so; else why not, or nothing where one has to look again."""
        parts = self._parts
        if abs(parts.clock_ms() - request.asked_ms) > ASKED_MAX_MS:
            return "this lay for too long, or the clock has jumped: nothing was erased", None
        root = parts.directory.root(request.customer)
        members, _ = parts.ledger.members(root)
        if self._is_held(members):
            return "the customer is on hold: nothing was erased", None
        found, log_end = look(
            parts.directory, parts.shards, parts.shard_count, root, members, request.unheard_since_ms
        )
        if found is Found.SILENT:
            return "", log_end
        if found is Found.HEARD:
            return "the customer was heard of meanwhile: nothing was erased", None
        if self._has_waited(request, UNSURE_S):
            return "nobody can tell when the customer was heard of: nothing was erased", None
        return "", None

    def _rests(self, request: PrivacyRequest) -> bool:
        """Return whether the customer is on hold, so that what somebody asks for waits until it is released.
        (What retention asks for ends instead.)"""
        if request.again or request.unheard_since_ms:
            return False
        members, _ = self._parts.ledger.members(self._parts.directory.root(request.customer))
        if self._is_held(members):
            self.resting.add(request.id)
            return True
        if request.id in self.resting:  # released: what came in meanwhile is resolved first, too
            self.resting.discard(request.id)
            self._released[request.id] = self._parts.clock_ms()
        return False

    def _is_held(self, members: Sequence[bytes]) -> bool:
        return not set(members).isdisjoint(self._parts.held())

    def _detach(self, request: PrivacyRequest, log_end: int | None = None) -> PrivacyRequest:
        """`log_end`: the last entry that the log of the customer's shard may have. Raises `Stale` where it
        has more, `LogFull`, `Fenced`."""
        parts = self._parts
        known = b"".join((*request.origins, *request.users))
        unless = b"" if log_end is None else log_end.to_bytes(ID_BYTES)
        detach = Order(
            "detach", request.customer, unless, PARTITION, known, forced=request.suppress, origins=True
        )
        self.order([detach])
        root = parts.directory.root(request.customer)
        members, identifiers = parts.ledger.members(root)
        if not members:
            return self._at(request, Step.DONE, note="nobody is known by this id")
        if parts.matched is not None:
            parts.directory.hear_again(request.id, MatchKind.ERASED, b"".join(members), parts.clock_ms())
        shards = sorted({*request.shards, *(shard_of(origin, parts.shard_count) for origin in members)})
        log_end = parts.directory.heads()[shard_of(root, parts.shard_count)]
        return self._at(
            request,
            Step.DETACHED,
            origins=members,
            users=_users(identifiers),
            shards=shards,
            identifiers=[identifier.hash for identifier in identifiers],
            mark={"log": log_end, "match": parts.directory.said_last()},
            counts={"origins": len(members), "identifiers": len(identifiers)},
        )

    def _detached(self, request: PrivacyRequest) -> PrivacyRequest | None:
        parts = self._parts
        root = parts.directory.root(request.customer)
        if not self._read_up_to_mark(request, root) or self._is_awaited(root):
            return None
        is_matched = parts.matched is None or parts.matched() >= request.mark["match"]
        if not is_matched and not self._has_waited(request, MATCH_S):
            return None
        if not request.names and parts.connectors and not request.again:  # saved before the keys go
            return _replace(request, names=parts.seal(pack_names(parts.names(root))))
        names = [*dict.fromkeys((*request.origins, *request.users))]
        parts.keys.destroy(names)
        parts.copy_keys(names)
        counts = request.counts | {"data_keys": len(names)}
        note = request.note if is_matched else "`match` does not run: it forgets the customer when it does"
        return self._at(request, Step.SETTLED, counts=counts, note=note)

    def _settled(self, request: PrivacyRequest) -> PrivacyRequest | None:
        parts = self._parts
        root = parts.directory.root(request.customer)
        puts = [] if parts.matched is not None else [Put("mr", origin, None) for origin in request.origins]
        self.order([Order("erase", request.customer, by=PARTITION, origins=True)], puts)
        log_end = parts.directory.heads()[shard_of(root, parts.shard_count)]
        return self._at(request, Step.GONE, mark={"log": log_end, "shard": shard_of(root, parts.shard_count)})

    def _gone(self, request: PrivacyRequest) -> PrivacyRequest | None:
        removed = self._removed.pop(request.id, None)
        if removed is None and not self._may_be_swept(request):
            return None
        if removed is None:
            removed = self._removed_of([request])[request.id]
        counts = request.counts | removed
        return self._at(request, Step.SWEPT, counts=counts, identifiers=[], mark={}, shards=[])

    def _swept(self, request: PrivacyRequest) -> PrivacyRequest | None:
        parts, now_ms = self._parts, self._parts.clock_ms()
        if request.internal and not request.answers and parts.connectors:
            untold = Answer("off", "was not to be asked", now_ms)
            return _replace(request, answers={one.name: untold for one in parts.connectors})
        due = [one for one in parts.connectors if is_due(request.answers.get(one.name), now_ms)]
        if due and not request.again:  # they were told the first time
            names = unpack_names(parts.unseal(request.names)) if request.names else {}
            said = {one.name: parts.ask(one, request, names, now_ms) for one in due}
            return _replace(request, answers=request.answers | said)
        if any(answer.said == "waiting" for answer in request.answers.values()):
            return None
        done = self._at(request, Step.DONE, names=b"")
        return _replace(done, receipt=parts.sign(done))

    # --- what they are made of

    def _may_be_swept(self, request: PrivacyRequest) -> bool:
        """Return whether nothing more of the customer can come into the lanes, and `learn` has passed."""
        return self._is_applied(request) and (
            not self._has_examples([request]) or self._has_waited(request, LEARN_S)
        )

    def _is_applied(self, request: PrivacyRequest) -> bool:
        return self._parts.shards.heads()[request.mark["shard"]].offset >= request.mark["log"]

    def _has_examples(self, requests: Sequence[PrivacyRequest]) -> bool:
        """Return whether examples of any of these customers wait for `learn`."""
        shards = sorted({shard for request in requests for shard in request.shards})
        origins = frozenset(origin for request in requests for origin in request.origins)
        return next(queued(self._parts.outbox, Lane.EXAMPLES, shards, origins), None) is not None

    def _removed_of(self, requests: Sequence[PrivacyRequest]) -> dict[str, Counter[str]]:
        """Remove what waits in lanes and lies among the dead letters, and return how much, by request."""
        parts = self._parts
        shards = sorted({shard for request in requests for shard in request.shards})
        origins = {request.id: frozenset(request.origins) for request in requests}
        removed = sweep_lanes(parts.outbox, shards, parts.shard_count, origins)
        dead = parts.dead_letters(
            {one.id: Wanted(origins[one.id], frozenset(one.identifiers)) for one in requests}
        )
        return {name: counts + dead.get(name, Counter()) for name, counts in removed.items()}

    def _at(self, request: PrivacyRequest, step: str, **changes: Any) -> PrivacyRequest:
        now_ms = self._parts.clock_ms()
        log.info("erasure_step", request=request.id, step=step)
        return _replace(request, step=step, times=request.times | {step: now_ms}, **changes)

    def _other(self, request: PrivacyRequest) -> str:
        """Return the request that has erased this customer, or is at it; empty: none is kept."""
        return next(
            (
                other.id
                for other in self._parts.requests.everything()
                if other.id != request.id
                and other.right == "erase"
                and other.step != Step.ASKED
                and request.customer in other.origins
            ),
            "",
        )

    def _drained(self, request: PrivacyRequest) -> bool:
        if request.unheard_since_ms:
            return self._all_drained(request)
        since_ms = max(request.asked_ms, request.begins_ms, self._released.get(request.id, 0))
        return self._drains.passed(request.id, since_ms)

    def _all_drained(self, request: PrivacyRequest) -> bool:
        """The same for those that nobody waits for: one drain for many of them, and without a limit."""
        if self._parts.clock_ms() < self._resolved_ms:  # the clock was set back
            self._resolved_ms = 0
        if request.asked_ms <= self._resolved_ms:
            return True
        if self._drain is None:
            self._drain = self._parts.clock_ms(), self._parts.drain()
        began_ms, drain = self._drain
        if drain.passed():
            self._resolved_ms, self._drain = began_ms, None
            drain.close()
        return request.asked_ms <= self._resolved_ms

    def _shards(self, members: Sequence[bytes]) -> list[int]:
        """Return where something of these may lie: in their own shards, and in those of whom they were once
        united with."""
        found, _ = self._parts.ledger.about(members, _ABOUT_MAX)
        named = {name for union in found for name in (union.retired, union.survivor, union.one, union.other)}
        return sorted({shard_of(origin, self._parts.shard_count) for origin in {*members, *named}})

    def order(self, orders: list[Order], puts: Sequence[Put] = (), *, partition: str = PARTITION) -> None:
        """Have the directory carry these out, in one commit. `partition`: of who orders, so that two that do
        are not taken for one that is stale. Raises `LogFull`, `Fenced`; `Stale` as `_detach`."""
        directory = self._parts.directory
        before = directory.offsets().get(partition, -1)
        window = WindowCommit(
            partition=partition,
            before=before,
            after=before + 1,
            groups=[],
            dead=[],
            rejected={},
            orders=orders,
            time_ms=self._parts.clock_ms(),
            puts=list(puts),
        )
        # what the archive keeps was checked, once and for all
        kept = [_replace(one, b=b"") if one.kind == "detach" else one for one in orders]
        directory.commit(window, self._parts.content(_replace(window, orders=kept)))

    def _read_up_to_mark(self, request: PrivacyRequest, root: bytes) -> bool:
        shard = shard_of(root, self._parts.shard_count)
        return self._parts.shards.heads()[shard].offset >= request.mark["log"]

    def _is_awaited(self, root: bytes) -> bool:
        """Return whether something is on its way to the customer, or it owes something to others."""
        packed = self._parts.shards.load(shard_of(root, self._parts.shard_count), [root])[root]
        merge = decode_profile(packed).in_flight if packed is not None else None
        return merge is not None and pending(merge)

    def _has_waited(self, request: PrivacyRequest, seconds: float) -> bool:
        return self._parts.clock_ms() - request.times[request.step] > seconds * 1000


def _users(identifiers: Sequence[Identifier]) -> list[bytes]:
    return [identifier.hash for identifier in identifiers if identifier.strength == 0]


def erasing_of(deployment: Deployment, *, directory: Directory | None = None) -> Erasing:
    """Return what takes the steps on this deployment. `directory`: where it is not marked as ours yet."""
    return Erasing(parts_of(deployment, deployment.directory if directory is None else directory))


def parts_of(deployment: Deployment, directory: Directory) -> Parts:
    """Return the parts of a deployment."""
    config, contacts = deployment.config, deployment.contacts
    fields = tuple(dict.fromkeys(field for one in config.connector for field in one.identify))
    matches = deployment.matches
    return Parts(
        directory=directory,
        ledger=deployment.ledger,
        shards=deployment.shards,
        outbox=deployment.outbox,
        keys=deployment.data_keys,
        requests=deployment.privacy_requests,
        shard_count=config.shards.count,
        connectors=config.connector,
        matched=matches.position if config.matching.enabled else None,
        drain=lambda: Mark(deployment.raw_reader, directory),
        names=lambda root: contacts.contacts([root], fields).get(root, {}) if fields else {},
        copy_keys=lambda origins: _copy_keys(deployment, origins),
        seal=deployment.log_seal.seal,
        unseal=deployment.log_seal.open,
        dead_letters=lambda wanted: sweep_dead_letters(deployment, wanted),
        ask=Telling(config.deliver, deployment.sink).ask,
        sign=lambda request: deployment.receipt_signer.sign(document(deployment.config, request)),
        content=match_packer(config, deployment.log_seal) if config.archive.enabled else no_content,
        held=lambda: deployment.sweep_records.holds().keys(),
    )


def _copy_keys(deployment: Deployment, origins: Sequence[bytes]) -> None:
    """Make the copy of the data keys forget as well, now: where no archive runs, nobody else would until the
    next backup."""
    if not Path(deployment.config.backup.keys).exists():
        return
    copy = deployment.key_copy()
    try:
        copy.follow(deployment.client, deployment.names, deployment.data_keys.buckets(origins))
    finally:
        copy.close()
