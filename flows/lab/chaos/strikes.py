"""The faults. Each strikes a running site and gives the seconds until it was processing again, or `None`
where that does not matter."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil

from flows.lab.chaos.disk import fill
from flows.lab.chaos.site import CRM, GONE, Site, Stuck
from flows.runtime.deployment import Deployment
from flows.runtime.snapshots import sender
from schemas.records.outbox_lanes import Lane
from state.directory.matches import PARTITION
from state.privacy_requests import PrivacyRequests

FLOWS_IN_THE_WAY = ("gateway", "resolve", "profile", "deliver")
CLOCKED = ("gateway", "resolve", "profile", "learn")
BUDGET_S = 5.0  # from a kill to processing again
ZOMBIE_S = 10.0
TROUBLE_S = 4.0  # of a receiver, of Redis' memory or its disk
STEP_S = 2.5  # on a clock that is an hour wrong
BROKER_DOWN_S = 2.0
CUT_S = 1.0  # so much of the append-only file
_TORN_BYTES = 40  # and a bit more, in the middle of a command
_DOUBT_S = 0.5  # the last command before a cut may be that much older than the cut
_OUTLIVE_S = 60.0
LITTLE_MEMORY = 1 << 20
_LIBFAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
)


class Fault(NamedTuple):
    """`budgeted`: the time until it is processing again has a budget; else it is measured from the end of the
    trouble."""

    name: str
    strike: Callable[[Site], float | None]
    budgeted: bool = False


def faults(site: Site, small_disk: bool) -> tuple[list[Fault], list[str]]:
    """Return all that can be done here, and what cannot, with the reason."""
    found = [Fault(f"kill -9 {flow}", partial(kill_in_the_way, flow=flow), True) for flow in FLOWS_IN_THE_WAY]
    found += [
        Fault("kill -9 learn", kill_learn, True),
        Fault("kill -9 match", kill_match, True),
        Fault("kill -9 archive", kill_archive, True),
        Fault("kill -9 privacy", kill_privacy),
        Fault("kill -9 redis-server", partial(kill_in_the_way, flow="redis"), True),
        Fault("zombie resolve", partial(zombie, flow="resolve"), True),
        Fault("zombie profile", partial(zombie, flow="profile"), True),
        Fault("zombie learn", partial(zombie, flow="learn")),
        Fault("zombie match", partial(zombie, flow="match")),
        Fault("zombie deliver", partial(zombie, flow="deliver"), True),
        Fault("receiver down", receiver_down),
        Fault("receiver slow", receiver_slow),
        Fault("receiver answers 500", partial(receiver_answers, status=500)),
        Fault("receiver answers 429", partial(receiver_answers, status=429)),
        Fault("receiver answers oddly", receiver_odd),
        Fault("receiver answers 410", receiver_gone),
        Fault("Redis out of memory", out_of_memory),
        Fault("Redis lost the last second", cut_tail, True),
    ]
    skipped = []
    if small_disk:
        found.append(Fault("disk full", disk_full))
    else:
        skipped.append("disk full: needs Linux and root, for a small tmpfs")
    if site.broker is not None:
        found.append(Fault("kill -9 Kafka broker", kill_broker))
    else:
        skipped.append("kill -9 Kafka broker: without --kafka there is none")
    library = _libfaketime()
    if library is not None:
        found += [
            Fault(f"clock of {flow} +1 h, -1 h", partial(wrong_clock, flow=flow, library=library))
            for flow in CLOCKED
        ]
        skipped.append("clock of deliver: receivers refuse a signature that is an hour old, as they should")
    else:
        skipped.append("clock of one process +1 h, -1 h: faketime is not on PATH")
    return found, skipped


def _libfaketime() -> Path | None:
    """What the command `faketime` loads; like all that is not ours it counts as installed where its command
    is on PATH."""
    if shutil.which("faketime") is None:
        return None
    return next((path for path in map(Path, _LIBFAKETIME) if path.exists()), None)


# --- kill -9 ---


def kill_in_the_way(site: Site, flow: str) -> float:
    """Kill something that every event passes."""
    return site.processing(site.kill(flow))


def kill_learn(site: Site) -> float:
    return _learning(site, site.kill("learn"))


def _learning(site: Site, since_s: float) -> float:
    """It works when it has learnt more than was learnt at first."""
    outbox, name = Deployment(site.config).outbox, sender("churn")
    before = site.until(
        lambda: outbox.cursors(Lane.EXAMPLES, name), "Redis does not say what has been learnt"
    )
    site.until(lambda: outbox.cursors(Lane.EXAMPLES, name) != before, "nothing has been learnt")
    return time.monotonic() - since_s


def kill_match(site: Site) -> float:
    """Kill `match`. It works again when more is matched than was when it died."""
    directory = Deployment(site.config).directory
    killed_s = site.kill("match")
    before = site.until(directory.offsets, "Redis does not say how far matching is").get(PARTITION, 0)
    site.until(
        lambda: directory.offsets().get(PARTITION, 0) > before, "nothing has been matched since the kill"
    )
    return time.monotonic() - killed_s


def kill_archive(site: Site) -> float:
    """Kill `archive`. It works again when more is safe than was when it died."""
    journal = Deployment(site.config).journal
    killed_s = site.kill("archive")
    before = site.until(journal.archived, "Redis does not say what is in the archive")
    site.until(lambda: (journal.archived() or 0) > before, "nothing has been archived since the kill")
    return time.monotonic() - killed_s


def kill_privacy(site: Site) -> float:
    """Kill `privacy`. It works again when an erasure has come further than it had when it died."""
    store = Deployment(site.config).privacy_requests
    killed_s = site.kill("privacy")
    before = site.until(lambda: _steps_taken(store), "Redis does not say how far erasures are")
    site.until(lambda: _steps_taken(store) > before, "no erasure has come further since the kill")
    return time.monotonic() - killed_s


def _steps_taken(store: PrivacyRequests) -> int:
    return sum(len(request.times) - 1 for request in store.everything())  # the first is that it was asked


def kill_broker(site: Site) -> float:
    """Kill the broker. Time counts from the moment that it answers again: how long it takes to start is its
    own affair."""
    assert site.broker is not None
    site.broker.kill()
    time.sleep(BROKER_DOWN_S)
    site.broker.start()
    return site.processing(time.monotonic())


# --- two of the same ---


def zombie(site: Site, flow: str) -> float | None:
    """Stop all workers of a flow while replacements take over, then let them go on. Of two writers exactly
    one must survive."""
    originals = site.until(lambda: site.processes(flow), f"there is no {flow} to stop")
    stopped_ms = time.time_ns() // 1_000_000
    for original in originals:
        original.suspend()
    stopped_s = time.monotonic()
    replacements = [site.stand_in(original) for original in originals]
    try:
        took_s = site.processing(stopped_s) if flow in FLOWS_IN_THE_WAY else None
        site.until(lambda: time.monotonic() - stopped_s >= ZOMBIE_S, "")
        for original in originals:
            original.resume()
        if flow != "deliver":  # two of these are no harm: at least once, with stable ids
            for original, replacement in zip(originals, replacements, strict=True):
                _one_survives(site, flow, original, replacement)
    finally:
        for replacement in replacements:
            _end(replacement)
        for original in originals:
            with suppress(psutil.NoSuchProcess):  # refused, and buried by its supervisor
                original.resume()
        if flow == "deliver":
            site.paused_ms.append((stopped_ms, time.time_ns() // 1_000_000))
    return took_s


def _one_survives(
    site: Site, flow: str, original: psutil.Process, replacement: subprocess.Popen[bytes]
) -> None:
    """One of them is refused, and ends. (If it is the original, the supervisor starts another, and ours is in
    its way.)"""
    try:
        site.until(lambda: replacement.poll() is not None or _dead(original), "both go on", _OUTLIVE_S)
    except Stuck:
        site.findings.append(f"two workers of {flow} went on side by side for {_OUTLIVE_S:.0f} s")


def _dead(process: psutil.Process) -> bool:
    """Also while its supervisor buries it, between one question and the next."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wrong_clock(site: Site, flow: str, library: Path) -> float:
    """Run a flow whose wall clock jumps an hour ahead, and then two back. Not the monotonic one, which no
    administrator can set."""
    works = site.processing if flow in FLOWS_IN_THE_WAY else partial(_learning, site)
    clock = site.folder / "clock"
    clock.write_text("+0\n")
    faked = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock)}
    faked |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    originals = site.until(lambda: site.processes(flow), f"there is no {flow} to replace")
    supervisor = site.supervisor
    supervisor.suspend()  # or it would start some with the right clock
    workers = [site.stand_in(original, **faked) for original in originals]
    for original in originals:
        original.kill()
    try:
        worst_s = 0.0
        works(time.monotonic())
        for step in ("+3600", "-3600"):
            clock.write_text(f"{step}\n")
            worst_s = max(worst_s, works(time.monotonic()))
            time.sleep(STEP_S)
            ended = [worker.returncode for worker in workers if worker.poll() is not None]
            site.findings.extend(
                f"{flow} ended with code {code} when its clock went {step} s" for code in ended
            )
    finally:
        for worker in workers:
            _end(worker)
        supervisor.resume()
    works(time.monotonic())
    return worst_s


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


# --- receivers ---


def receiver_down(site: Site) -> float:
    site.crm.down()
    time.sleep(TROUBLE_S)
    site.crm.up()
    return site.processing(time.monotonic())


def receiver_slow(site: Site) -> float:
    """Have the receiver answer slower than deliver waits, so that what was taken is delivered again."""
    site.crm.slow_s = 2.5
    time.sleep(TROUBLE_S)
    site.crm.slow_s = 0.0
    return site.processing(time.monotonic())


def receiver_answers(site: Site, status: int) -> float:
    site.crm.status = status
    time.sleep(TROUBLE_S)
    site.crm.status = 0
    return site.processing(time.monotonic())


def receiver_odd(site: Site) -> float:
    """Have the receiver answer oddly. Whatever it answers is no reason for deliver to end."""
    before, answered = {process.pid for process in site.processes("deliver")}, site.crm.refused
    site.crm.odd = True
    time.sleep(TROUBLE_S)
    site.crm.odd = False
    if site.crm.refused == answered:
        site.findings.append("nothing was sent to a receiver that answers oddly")
    if before != {process.pid for process in site.processes("deliver")}:
        site.findings.append("deliver ended because of what a receiver answered")
    return site.processing(time.monotonic())


def receiver_gone(site: Site) -> float:
    """Have the receiver answer 410, which ends its connector for good, and is nothing to the other one."""
    store = Deployment(site.config).deliveries
    answered = site.gone.refused
    site.gone.status = 410
    began_s = time.monotonic()
    took_s = site.processing(began_s)
    site.until(lambda: GONE in store.disabled(), "410 did not disable the connector")
    if CRM in store.disabled():
        site.findings.append("410 of one receiver disabled the connector of another")
    if site.gone.refused == answered == 0:
        site.findings.append("a connector was disabled that nobody had answered 410 to")
    return took_s


# --- Redis ---


def out_of_memory(site: Site) -> float:
    """Put Redis at `maxmemory` with `noeviction`: writes are refused, nothing is thrown away."""
    refused = _refusals(site, "OOM")
    _set_memory(site, LITTLE_MEMORY)
    try:
        time.sleep(TROUBLE_S)
    finally:
        _set_memory(site, int(site.config.redis.max_memory))
    if _refusals(site, "OOM") == refused:
        site.findings.append("Redis out of memory: no command was refused, so it shows nothing")
    return site.processing(time.monotonic())


def _refusals(site: Site, code: str) -> int:
    """How many commands this redis-server has refused with that code."""
    found = site.until(
        lambda: site.client.info("errorstats") or {"none": {}}, "Redis does not tell its errors"
    )
    return int(found.get(f"errorstat_{code}", {}).get("count", 0))


def _set_memory(site: Site, size: int) -> None:
    site.until(lambda: site.client.config_set("maxmemory", size), "Redis does not take a setting")


def disk_full(site: Site) -> float:
    """Fill the disk: redis-server ends itself (`always`), or refuses writes (`everysec`)."""
    servers, refused = site.processes("redis"), _refusals(site, "MISCONF")
    filler = fill(site.redis.folder)
    try:
        time.sleep(TROUBLE_S)
    finally:
        filler.unlink()
    took_s = site.processing(time.monotonic())
    if site.processes("redis") == servers and _refusals(site, "MISCONF") == refused:
        site.findings.append("disk full: Redis did not notice, so it shows nothing")
    return took_s


def cut_tail(site: Site) -> float:
    """Kill Redis and cut the last second off its append-only file, in the middle of a command: what a power
    cut may do to `everysec`, or to a disk that lies. With the raw log in Redis, what was acknowledged in that
    second is lost by definition."""
    site.until(
        lambda: site.samples and site.samples[0][0] < time.monotonic() - CUT_S,
        "the append-only file was not watched",
    )
    supervisor = site.supervisor
    supervisor.suspend()
    try:
        killed_s = site.kill("redis")
        cut_s, file, size = next(sample for sample in reversed(site.samples) if sample[0] <= killed_s - CUT_S)
        site.until(lambda: not site.processes("redis"), "a killed redis-server lives")
        os.truncate(file, max(0, size - site.luck.randrange(_TORN_BYTES)))
    finally:
        supervisor.resume()
    site.went_back = True
    if site.broker is None:
        site.book.doubt(cut_s - _DOUBT_S, time.monotonic())
    return site.processing(killed_s)
