"""`millrace chaos`: a short run of the real thing, and that its count would see what it looks for."""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from flows.lab.chaos.booked_traffic import BATCH, ORDER, Book, Message, Publisher, Sent
from flows.lab.chaos.final_count import CONSUMERS, Loss, _messages, _triggers
from flows.lab.chaos.loss_report import ELSEWHERE, Strike, rows
from flows.lab.chaos.site import ON_ORDER, document
from flows.lab.chaos.strikes import _dead, wrong_clock, zombie
from flows.lab.demo.trigger_receiver import Got
from schemas.records.outbox_lanes import Lane
from tests.kafka_broker import available
from tests.running import environment
from tests.waiting import eventually

COMMAND = [sys.executable, "-P", "-m", "flows.cli", "chaos", "--json"]


def chaos(*options: str, timeout_s: float = 150) -> dict[str, Any]:
    """The report of a run that must be clean."""
    done = subprocess.run(
        [*COMMAND, *options],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=environment(),
    )
    assert done.stdout, done.stderr[-4_000:]
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stderr[-4_000:]
    assert (report["lost"], report["doubled"], report["findings"], report["losses"]) == (0, 0, [], [])
    assert report["same_as_twin"]
    assert report["triggers"] > 100
    assert (report["stored_without_consent"], report["sent_without_consent"]) == (0, 0)
    assert report["withheld"] > 10
    assert report["refused"] > 10
    assert (report["erasures"] > 1, report["erasures_incomplete"]) == (True, 0)
    return report


@pytest.mark.slow
def test_kills_with_the_log_in_redis_and_fsync_always_lose_no_acknowledged_event() -> None:
    report = chaos("--seconds", "8", "--seed", "7", "--only", "kill -9 redis")
    assert (report["raw_log"], report["fsync"], report["cut"], report["taken_back"]) == (
        "Redis",
        "always",
        0,
        0,
    )
    assert [row["fault"] for row in report["faults"]] == ["kill -9 redis-server"]


@pytest.mark.slow
def test_a_cut_tail_with_the_log_in_redis_takes_its_second_as_a_whole() -> None:
    """Acknowledged events of that second are gone, with all that came of them: the state is that of a history
    without them."""
    report = chaos("--seconds", "6", "--seed", "7", "--only", "lost the last second")
    assert report["cut"] > 0


@pytest.mark.slow
def test_a_cut_tail_with_the_log_in_kafka_loses_no_acknowledged_event() -> None:
    if not available():
        pytest.skip("a real broker needs Java 17 and Maven")
    report = chaos("--seconds", "6", "--seed", "7", "--kafka", "--only", "lost the last second")
    assert (report["raw_log"], report["fsync"], report["cut"]) == ("Kafka", "everysec", 0)


# --- the instruments ---


def test_the_count_waits_for_the_receivers_that_the_site_has(tmp_path: Path) -> None:
    """It waited for another one once: everything had arrived, and the run was called unfinished."""
    moody: Any = SimpleNamespace(url="http://127.0.0.1:1", secret="whsec_c2VjcmV0")
    connectors = document(tmp_path, "always", moody, moody, "")["connector"]
    assert set(CONSUMERS[Lane.TRIGGERS]) == {connector["name"] for connector in connectors}


def got(cause: str, identity: str) -> Got:
    return Got(identity, "c" * 24, ON_ORDER, cause, {}, {}, 0)


class History:
    """What of a twin the count looks at."""

    def __init__(self, *committed: str, untold: int = 0, gone: tuple[str, ...] = ()) -> None:
        self.committed = Counter(committed)
        self.taken = set(committed)
        self.emitted: list[Any] = []
        self.untold = untold
        self._gone = gone

    def kept(self) -> set[str]:
        return self.taken - {*self._gone}


def book(**messages: Sent) -> Book:
    made = Book()
    made.messages = messages
    return made


def order(*, acknowledged: bool = True, doubtful: bool = False) -> Sent:
    return Sent("somebody", 5, 1.0, 2.0 if acknowledged else None, doubtful)


def test_an_acknowledged_message_that_no_window_has_is_lost() -> None:
    written = book(kept=order(), gone=order(), never=order(acknowledged=False), cut=order(doubtful=True))
    history: Any = History("kept")
    assert list(_messages(written, history)) == [Loss("lost", "acknowledged, and in no window", "gone")]


def test_what_nobody_can_tell_any_more_of_who_was_erased_is_not_lost_and_no_more_than_that() -> None:
    written = book(kept=order(), one=order(), two=order())
    history: Any = History("kept", untold=1)
    assert [loss.message for loss in _messages(written, history)] == ["two"]


def test_an_order_of_who_was_erased_needs_no_trigger() -> None:
    history: Any = History("gone", "silent", gone=("gone",))
    lost = list(_triggers(book(gone=order(), silent=order()), [], history, set()))
    assert [loss.message for loss in lost] == ["silent"]


def test_a_message_that_nobody_sent_is_doubled() -> None:
    history: Any = History("kept", "strange")
    assert [loss.message for loss in _messages(book(kept=order()), history)] == ["strange"]


def test_an_order_has_exactly_one_trigger() -> None:
    written = book(right=order(), twice=order(), silent=order())
    history: Any = History("right", "twice", "silent")
    arrived = [got("right", "1"), got("twice", "2"), got("twice", "3")]
    found = sorted(_triggers(written, arrived, history, set()), key=lambda loss: loss.kind)
    assert [(loss.kind, loss.message) for loss in found] == [("doubled", "twice"), ("lost", "silent")]


def test_a_loss_is_blamed_on_the_fault_that_it_happened_in() -> None:
    written = book(early=Sent("a", None, 1.0, 1.5), late=Sent("a", None, 11.0, 12.0))
    strikes = [Strike("first", True, 10.0, 14.0, 2.0), Strike("second", False, 20.0, 25.0, None)]
    losses = [Loss("lost", "", "early"), Loss("doubled", "", "late", 3), Loss("lost", "")]
    found = {
        row.fault: (row.times, row.median_s, row.lost, row.doubled) for row in rows(strikes, losses, written)
    }
    assert found == {"first": (1, 2.0, 0, 3), "second": (1, None, 0, 0), ELSEWHERE: (0, None, 2, 0)}


def test_a_publisher_repeats_a_batch_until_it_is_acknowledged_and_keeps_its_book() -> None:
    luck, stored, written = Random(1), [], Book()

    def store(batch: Any) -> bool:
        stored.append([message["messageId"] for message in batch])
        return luck.random() < 0.5

    with Publisher("p", store, written, seed=3) as publisher:
        eventually(lambda: len({tuple(batch) for batch in list(stored)}) > 3 and len(stored) > 8)
        assert publisher.finish()
    assert all(sent.acknowledged_s is not None for sent in written.messages.values())
    assert written.attempts == len(stored) > len({tuple(batch) for batch in stored}) > 3
    assert {message for batch in stored for message in batch} == written.messages.keys()


def test_a_process_is_dead_from_its_end_on_also_while_it_is_buried() -> None:
    """A supervisor reaps it at any moment, also between two questions about it."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(child.pid)
    assert not _dead(process)
    child.kill()
    eventually(lambda: _dead(process))
    assert process.is_running()  # a zombie
    child.communicate()
    assert _dead(process)


class TwoWorkers:
    """What a fault sees of a site whose flow has two workers, each of which may be refused. Everything works
    at once."""

    def __init__(self) -> None:
        self.originals = [psutil.Popen([sys.executable, "-c", SLEEPS]) for _ in range(2)]
        self.replacements: list[subprocess.Popen[bytes]] = []
        self.given: list[dict[str, str]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.findings: list[str] = []
        self.supervisor = psutil.Popen([sys.executable, "-c", SLEEPS])

    def processes(self, what: str) -> list[psutil.Process]:
        return [psutil.Process(original.pid) for original in self.originals] if what == "profile" else []

    def stand_in(self, process: psutil.Process, **environment: str) -> subprocess.Popen[bytes]:
        self.given.append(environment)
        self.replacements.append(subprocess.Popen(process.cmdline()))
        return self.replacements[-1]

    def processing(self, since_s: float) -> float:
        self.meanwhile()
        return 0.1

    def until(self, holds: Callable[[], Any], otherwise: str, within_s: float = 0) -> Any:
        if not (found := holds()) and "go on" in otherwise:  # the stale one is refused
            next(original for original in self.originals if original.poll() is None).kill()
            eventually(holds)
        return found


SLEEPS = "import time; time.sleep(60)"


@pytest.fixture
def two() -> Iterator[TwoWorkers]:
    site = TwoWorkers()
    yield site
    for process in (*site.originals, *site.replacements, site.supervisor):
        with suppress(psutil.NoSuchProcess):
            process.kill()
        process.wait()


def test_all_workers_of_a_flow_become_zombies(two: TwoWorkers) -> None:
    site: Any = two
    stood_still: list[int] = []

    def both_stand_still() -> None:
        """No other worker of the flow may hide that one does. (A signal is sent; it is heard a moment
        later.)"""
        eventually(
            lambda: all(original.status() == psutil.STATUS_STOPPED for original in two.originals), within_s=20
        )
        stood_still.append(len(two.originals))

    two.meanwhile = both_stand_still
    assert zombie(site, "profile") == 0.1
    assert stood_still == [2]
    assert len(two.replacements) == 2
    assert [replacement.poll() is not None for replacement in two.replacements] == [True, True]
    assert psutil.STATUS_STOPPED not in [
        original.status() for original in two.originals if original.is_running()
    ]


def test_all_workers_of_a_flow_get_a_wrong_clock(
    two: TwoWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["flows.lab.chaos.strikes"], "STEP_S", 0.01)
    site: Any = two
    site.folder = tmp_path
    assert wrong_clock(site, "profile", tmp_path / "faketime.so") == 0.1
    assert [given["LD_PRELOAD"] for given in two.given] == [str(tmp_path / "faketime.so")] * 2
    assert [original.wait(5) for original in two.originals] == [-signal.SIGKILL] * 2
    assert two.supervisor.status() != psutil.STATUS_STOPPED
    assert two.findings == []


def test_the_load_is_the_same_for_the_same_seed() -> None:
    def first(seed: int) -> list[Message]:
        taken: list[Message] = []
        with Publisher("p", lambda batch: not taken.extend(batch), Book(), seed) as publisher:
            eventually(lambda: len(taken) >= 2 * BATCH)
            assert publisher.finish()
        return taken[: 2 * BATCH]

    assert first(5) == first(5) != first(6)
    assert any(message.get("event") == ORDER for message in first(5))


def test_what_was_acknowledged_in_a_cut_second_is_in_doubt() -> None:
    written = book(
        before=Sent("a", None, 0.5, 1.0), within=Sent("a", None, 1.0, 2.0), open=Sent("a", None, 1.0)
    )
    written.doubt(1.5, 2.5)
    assert [name for name, sent in written.messages.items() if sent.doubtful] == ["within"]
