"""What is too old is ended: on a real Redis with a clock that is given, through the workflow that erases."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.services import backups, restore
from flows.services.privacy_report import report
from flows.services.retention import holds
from flows.services.retention.progress import JUMP_MS, is_behind
from flows.services.retention.sweep import EVERY_MS, OPEN_MAX, Sweeping, parts_of
from flows.services.subjects import erasing, requests
from schemas.config import Config
from schemas.config.toml import load
from schemas.errors import Unusable
from schemas.records.identity_graph import Order
from schemas.records.mandates import Mandate, Notice, Phase
from schemas.records.outbox_lanes import Lane
from schemas.records.privacy_requests import PrivacyRequest, Step
from schemas.records.retention import Sweep
from schemas.units import Duration
from tests.lives import millrace
from tests.subjects import Erased, identify, lines, viewed

DAY_S = 86_400


class Kept(Erased):
    """`retention` is text of the configuration; time passes when it is told to."""

    def __init__(self, folder: Path, url: str, retention: str, prefix: str = "mr", **options: Any) -> None:
        self.retention = retention
        super().__init__(folder, url, prefix, **options)

    def _configured(self, few: int) -> Config:
        super()._configured(few)
        self.file.write_text(f"{self.file.read_text()}[retention]\n{self.retention}\n")
        return load(self.file)

    @property
    def now_ms(self) -> int:
        return self.now_s * 1000

    def pass_days(self, days: float) -> None:
        """The clock goes on; the shards hear of it."""
        self.now_s += int(days * DAY_S)
        self.tick()
        self.settle()

    def erasing(self) -> erasing.Erasing:
        parts = erasing.parts_of(self.deployment, self.deployment.directory)
        return erasing.Erasing(replace(parts, clock_ms=lambda: self.now_ms))

    def sweeping(self, **changed: Any) -> Sweeping:
        """One that has just been started."""
        clock = iter(
            range(1, 1_000_000)
        ).__next__  # a second for each look, so that all that may be is looked at
        parts = replace(parts_of(self.deployment, self.erasing()), clock_ms=lambda: self.now_ms, clock=clock)
        return Sweeping(replace(parts, **changed))

    def sweep(self, sweeping: Sweeping | None = None) -> Sweep:
        """One pass, as far as it comes."""
        sweeping = sweeping or self.sweeping()
        sweeping.step()
        self.now_s += 1  # the least grace is over
        while sweeping.step():
            pass
        return sweeping.so_far

    def asked(self) -> list[PrivacyRequest]:
        return [one for one in self.deployment.privacy_requests.everything() if one.by == "retention"]

    def carry_all_on(self) -> list[PrivacyRequest]:
        return [self.carry_on(one, self.wait_for_flows) for one in self.asked() if one.step != Step.DONE]

    def wait_for_flows(self) -> None:
        self.settle()
        self.now_s += 31  # nobody learns

    def knows(self, user: str) -> bool:
        return self.deployment.profile_reader("user_id", user) is not None


@pytest.fixture
def made(tmp_path: Path, redis_url: str) -> Callable[..., Kept]:
    def make(retention: str = 'customers = "30d"\ngrace = "1ms"', **options: Any) -> Kept:
        site = Kept(tmp_path, redis_url, retention, archive=False, **options)
        site.start()
        return site

    return make


def live(site: Kept) -> None:
    """Ana is silent from now on; Bea comes back after 20 days."""
    site.say(identify("ana", "ana@example.org"), identify("bea", "bea@example.org"))
    site.pass_days(20)
    site.say(viewed(userId="bea"))
    site.settle()


def test_who_was_not_heard_of_is_erased_and_who_was_is_not(made: Callable[..., Kept]) -> None:
    site = made()
    live(site)
    assert site.sweep().last["customers"].found == 0
    site.pass_days(11)
    swept = site.sweep()
    assert (swept.last_looked, swept.last["customers"].found, swept.last["customers"].removed) == (2, 1, 1)
    bea = site.deployment.profile_reader("user_id", "bea")
    assert bea is not None
    assert swept.last["customers"].oldest_ms == bea["last_seen_ms"]
    [request] = site.asked()
    assert (request.right, request.note) == ("erase", "nothing came for 30d")
    [done] = site.carry_all_on()
    assert done.receipt
    assert (site.knows("ana"), site.knows("bea")) == (False, True)
    told = [*lines(site.folder / "crm.jsonl")]
    assert [one["data"]["identity"]["user_id"] for one in told if one["type"] == "millrace.deletion"] == [
        "ana"
    ]
    site.pass_days(0.1)
    assert site.sweep().last["customers"].found == 0, "nobody is erased twice"


def test_without_the_option_nobody_is_erased(made: Callable[..., Kept]) -> None:
    site = made("")
    live(site)
    site.pass_days(4000)
    assert site.sweep().last.keys() == {"requests", "mandates"}
    assert site.asked() == []


def test_an_event_between_the_look_and_the_erasure_saves_the_customer(made: Callable[..., Kept]) -> None:
    site = made()
    live(site)
    site.pass_days(11)
    site.sweep()
    site.say(viewed(userId="ana"))  # in the shard's log, and not in the profile yet
    [request] = site.asked()
    waiting = site.erasing().advance(request)
    assert (waiting.step, site.knows("ana")) == (Step.ASKED, True)
    [done] = site.carry_all_on()
    assert (done.receipt, done.note) == (b"", "the customer was heard of meanwhile: nothing was erased")
    assert site.knows("ana")
    found = site.deployment.profile_reader("user_id", "ana")
    assert found is not None
    assert found["events"] == 2, "nothing of before is lost"


def test_an_event_between_the_second_look_and_the_commit_saves_the_customer(
    made: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = made()
    live(site)
    site.pass_days(11)
    site.sweep()
    look, came = erasing.look, []

    def late(*about: Any) -> Any:
        found = look(*about)
        if not came:
            came.append(1)
            site.say(viewed(userId="ana"))
        return found

    monkeypatch.setattr(erasing, "look", late)
    [done] = site.carry_all_on()
    assert came
    assert (done.receipt, site.knows("ana")) == (b"", True)


def test_who_was_united_with_somebody_who_is_there_is_not_erased(made: Callable[..., Kept]) -> None:
    site = made()
    site.say(viewed(anonymousId="phone"))
    live(site)
    site.pass_days(11)
    site.sweep()
    assert len(site.asked()) == 2
    site.say(viewed(anonymousId="phone", userId="bea"))  # the visitor was Bea
    done = site.carry_all_on()
    assert sorted(bool(one.receipt) for one in done) == [False, True]
    assert (site.knows("ana"), site.knows("bea")) == (False, True)


def test_who_is_killed_between_any_two_steps_is_followed_by_one_who_goes_on(
    made: Callable[..., Kept],
) -> None:
    site = made('customers = "30d"\ngrace = "1ms"\nlooks = 5')
    people = [f"u{number}" for number in range(OPEN_MAX + 9)]
    site.say(*(identify(user, f"{user}@example.org") for user in people))
    site.settle()
    site.pass_days(31)
    steps = 0
    while site.sweeping().step():  # each step by a new one
        site.now_s += 1
        steps += 1
    assert len(site.asked()) == OPEN_MAX, "so many at once"
    site.carry_all_on()
    while site.sweeping().step():
        steps += 1
    site.carry_all_on()
    assert steps > 8
    asked = site.asked()
    assert len({one.customer for one in asked}) == len(asked) == len(people), "each once"
    assert not any(map(site.knows, people))


def test_an_hour_has_so_many_erasures(made: Callable[..., Kept]) -> None:
    site = made('customers = "30d"\ngrace = "1ms"\nerasures = 2')
    site.say(*(identify(f"u{number}", f"u{number}@example.org") for number in range(5)))
    site.settle()
    site.pass_days(31)
    for asked in (2, 2, 4):
        site.sweep()
        site.carry_all_on()
        assert len(site.asked()) == asked
        site.now_s += 1_900
        site.tick()
        site.settle()


def test_looks_are_spread_over_time(made: Callable[..., Kept]) -> None:
    site = made('customers = "30d"\ngrace = "1ms"\nlooks = 5')
    site.say(*(identify(f"u{number}", f"u{number}@example.org") for number in range(40)))
    site.settle()
    sweeping, seen = site.sweeping(), [0]
    while sweeping.step():
        seen.append(sweeping.so_far.looked)
    largest = max(map(len, site.deployment.tables.customers(0, 1_000)))
    assert max(after - before for before, after in pairwise(seen)) <= max(5, largest)
    assert sweeping.so_far.last_looked == 40


def test_on_hold_nobody_is_erased_by_the_sweep_or_by_a_request(made: Callable[..., Kept]) -> None:
    site = made()
    live(site)
    holds.hold(site.deployment, "user_id:ana", by="test", note="a dispute")
    site.pass_days(11)
    assert site.sweep().last["customers"].found == 0
    with pytest.raises(Unusable, match="on hold"):
        requests.erase(site.deployment, "user_id:ana", by="test")
    [held] = holds.everything(site.deployment)
    assert (held["note"], held["by"]) == ("a dispute", "test")
    assert holds.release(site.deployment, "user_id:ana")
    assert not holds.release(site.deployment, "user_id:ana")
    site.pass_days(0.1)
    assert site.sweep().last["customers"].found == 1
    holds.hold(site.deployment, "user_id:ana", by="test")  # between the look and the erasure
    [done] = site.carry_all_on()
    assert (done.note, site.knows("ana")) == ("the customer is on hold: nothing was erased", True)


def test_a_clock_that_jumps_erases_nobody_before_people_could_see_it(made: Callable[..., Kept]) -> None:
    site = made('customers = "30d"')  # a grace of a week
    live(site)
    found = site.deployment.profile_reader("user_id", "ana")
    assert found is not None
    anas = found["customer"]
    site.sweep()
    site.pass_days(8)  # the rule was new
    assert site.sweep().why == "clock", "nobody was at work for eight days"
    for _ in range(9):
        site.pass_days(0.9)
        site.sweep()
    before_s = site.now_s
    site.pass_days(3_000)
    swept = site.sweep()
    assert (swept.last["customers"].found, swept.last["customers"].removed) == (1, 0), "Bea"
    assert [one.customer.hex() for one in site.asked()] == [anas], "who was due before the clock jumped"
    site.now_s = before_s  # it is set right again
    swept = site.sweep()
    assert swept.waits_until_ms == before_s * 1000 + 7 * DAY_S * 1000
    assert site.knows("bea")


def test_a_clock_that_is_ahead_of_the_shards_makes_nobody_old(made: Callable[..., Kept]) -> None:
    site = made()
    live(site)
    site.sweep()
    swept = site.sweep(site.sweeping(clock_ms=lambda: site.now_ms + 3_000 * DAY_S * 1000))
    assert swept.last["customers"].found == 0
    assert site.asked() == []


def test_a_new_or_shorter_rule_waits_and_a_longer_one_does_not(made: Callable[..., Kept]) -> None:
    site = made('customers = "40d"')
    live(site)
    until = site.sweep().waits_until_ms
    assert until == site.now_ms + 7 * DAY_S * 1000 - 1_000
    rules = msgspec.structs.replace(site.config.retention, customers=Duration.parse("50d"))
    site.now_s += 3_600
    assert site.sweep(site.sweeping(rules=rules)).waits_until_ms == until
    rules = msgspec.structs.replace(rules, customers=Duration.parse("20d"))
    site.now_s += 3_600
    assert site.sweep(site.sweeping(rules=rules)).waits_until_ms == site.now_ms + 7 * DAY_S * 1000 - 1_000


def test_what_was_asked_before_a_restore_is_not_begun(made: Callable[..., Kept]) -> None:
    """A backup that holds a request whose customer was heard of since."""
    site = made()
    live(site)
    site.pass_days(11)
    site.sweep()
    site.pass_days(2)  # as it is found again, days later
    [done] = site.carry_all_on()
    assert "lay for too long" in done.note
    assert site.knows("ana")


def test_an_old_backup_that_is_restored_erases_nobody_before_people_could_see_it(
    tmp_path: Path, redis_url: str
) -> None:
    site = Kept(tmp_path, redis_url, 'customers = "30d"', archive=False)
    site.start()
    live(site)
    for _ in range(9):  # the grace of the new rule is over
        site.sweep()
        site.pass_days(0.9)
    assert site.sweep().waits_until_ms < site.now_ms
    manifest = backups.make(site.deployment)
    other = Kept(tmp_path, redis_url, 'customers = "30d"', prefix="re", archive=False)
    found, folder = restore.plan(other.deployment, None, manifest.name)
    restore.restore(other.deployment, found, folder, None)
    other.start()
    other.now_s = site.now_s + 60 * DAY_S
    other.tick()
    other.settle()
    swept = other.sweep()
    assert (swept.why, swept.waits_until_ms > other.now_ms) == ("clock", True)
    assert (swept.last["customers"].found, other.asked()) == (2, [])
    assert report(other.deployment, other.now_ms).retention.waits_until_ms == swept.waits_until_ms
    for _ in range(8):
        other.pass_days(0.9)
        other.sweep()
    assert len(other.asked()) == 2, "a week later they are due, as it was said"


def test_closed_requests_go_after_their_time_and_open_ones_stay(made: Callable[..., Kept]) -> None:
    site = made('requests = "60d"')
    live(site)
    deployment = site.deployment
    closed = requests.ask(deployment, "complain", "user_id:ana", by="test").request
    still = requests.ask(deployment, "correct", "user_id:ana", by="test").request
    requests.close(deployment, closed.id, done=True, note="")
    site.now_s = closed.asked_ms // 1000 + 59 * DAY_S
    assert site.sweep().last["requests"].removed == 0
    site.now_s += 2 * DAY_S
    site.tick()
    site.settle()
    assert site.sweep().last["requests"].removed == 1
    assert [one.id for one in deployment.privacy_requests.everything()] == [still.id]


def test_what_was_taken_back_goes_after_its_time(made: Callable[..., Kept]) -> None:
    site = made('requests = "60d"')
    live(site)
    asked = requests.ask(site.deployment, "object", "user_id:ana", by="test").request
    requests.cancel(site.deployment, asked.id)
    site.now_s = asked.asked_ms // 1000
    site.pass_days(61)
    assert site.sweep().last["requests"].removed == 1
    assert site.deployment.privacy_requests.everything() == []


def test_what_other_systems_asked_goes_when_it_is_ended_and_told(made: Callable[..., Kept]) -> None:
    site = made('requests = "60d"')
    live(site)
    store, now_ms = site.deployment.mandates, site.now_ms
    ended = Mandate(
        id="ended",
        dialect="segment",
        kind="SUPPRESS_ONLY",
        subject="USER_ID",
        identifiers=[b"i" * 12],
        by="test",
        asked_ms=now_ms,
        begins_ms=0,
        due_ms=now_ms,
        state="completed",
        times={Phase.PENDING: now_ms, Phase.COMPLETED: now_ms},
    )
    change = msgspec.structs.replace
    untold = change(ended, id="untold", notices=[Notice(0, "completed")])
    is_open = change(ended, id="open", state="in_progress")
    assert store.add_all([ended, untold, is_open]) == [True] * 3
    site.pass_days(59)
    assert site.sweep().last["mandates"].removed == 0
    site.pass_days(2)
    assert site.sweep().last["mandates"].removed == 1
    assert {one.id for one in store.everything()} == {"untold", "open"}


def test_a_receipt_that_another_request_names_stays_as_long_as_that(made: Callable[..., Kept]) -> None:
    site = made('requests = "60d"')
    live(site)
    done = site.erase("user_id:ana")
    store, day_ms = site.deployment.privacy_requests, DAY_S * 1000
    later = msgspec.structs.replace(
        done,
        id="joined",
        joined=done.id,
        receipt=b"",
        times={Step.DONE: done.asked_ms + 30 * day_ms},
    )
    assert store.add(later)
    assert store.save(later, later, finished=True)
    site.now_s = done.asked_ms // 1000
    site.pass_days(61)
    assert site.sweep().last["requests"].removed == 0
    assert requests.receipt(site.deployment, later.id) == done.receipt
    site.pass_days(30)
    assert site.sweep().last["requests"].removed == 2


def test_receipts_that_nobody_asked_for_go_after_a_month(made: Callable[..., Kept]) -> None:
    site = made()
    live(site)
    site.pass_days(11)
    site.sweep()
    [anas] = site.carry_all_on()
    site.pass_days(25)
    site.sweep()
    [_, beas] = [anas, *site.carry_all_on()]
    assert (anas.receipt != b"", beas.receipt != b"") == (True, True)
    assert {one.id for one in site.asked()} == {anas.id, beas.id}
    site.pass_days(6)
    site.sweep()
    assert [one.id for one in site.asked()] == [beas.id]


def test_dead_letters_decisions_and_pairs_go_after_their_time(made: Callable[..., Kept]) -> None:
    site = made('dead_letters = "1d"\ndecisions = "1h"\nreviews = "10d"')
    live(site)
    site.say({"type": "nonsense", "userId": "ana"})
    site.say(viewed(anonymousId="one"), viewed(anonymousId="other"))
    hashed = [site.deployment.identifiers.hash("anonymous", name) for name in ("one", "other")]
    a, b = site.deployment.directory.lookup([one for one in hashed if one is not None])
    assert a is not None
    assert b is not None
    site.erasing().order([Order("review", a, b, by="limit", origins=True)])
    deployment = site.deployment
    assert len(deployment.ledger.reviews()) == 1
    deployment.dead_deliveries._redis.xadd(
        deployment.names.dead_deliveries, {"c": "crm", "b": b"x", "r": "no"}
    )
    for seq in range(1, 1_203):
        deployment.client.xadd(
            deployment.names.outbox(2, Lane.DECISIONS), {"b": b"x", "t": seq}, id=f"{seq}-0"
        )
    swept = site.sweep()
    assert {name: one.removed for name, one in swept.last.items()} == {
        "requests": 0, "decisions": 1_202, "dead_letters": 0, "reviews": 0, "mandates": 0,
    }  # fmt: skip
    site.pass_days(11)
    site.now_s = max(site.now_s, deployment.dead_events.since_ms() // 1000 + 2 * DAY_S)
    site.tick()
    site.settle()
    swept = site.sweep()
    assert (swept.last["dead_letters"].removed, swept.last["reviews"].removed) == (2, 1)
    assert [*deployment.dead_events.oldest()] == []
    assert deployment.ledger.reviews() == []


def test_a_sweep_that_stands_still_is_behind() -> None:
    now = 10**12
    assert not is_behind(Sweep(), now)
    assert not is_behind(Sweep(ended_ms=now - EVERY_MS, clock_ms=now), now)
    assert is_behind(Sweep(ended_ms=now - EVERY_MS, clock_ms=now - JUMP_MS - 1), now)
    assert is_behind(Sweep(ended_ms=now - 8 * JUMP_MS, began_ms=now - JUMP_MS, clock_ms=now), now)
    assert is_behind(Sweep(began_ms=now - 8 * JUMP_MS, clock_ms=now), now)


@pytest.mark.long
def test_the_real_process_ends_what_is_silent_though_it_is_killed_again_and_again(
    tmp_path: Path, redis_url: str
) -> None:
    """By the real clock: what was said 40 days ago was said then."""
    rules = 'customers = "30d"\ngrace = "1ms"\nlooks = 8\n[churn]\nenabled = false'
    site = Kept(tmp_path, redis_url, rules, archive=False)
    site.now_s = int(time.time()) - 40 * DAY_S
    site.start()
    silent = [f"u{number}" for number in range(30)]
    site.say(*(identify(user, f"{user}@example.org") for user in (*silent, "bea", "cho")))
    site.settle()
    holds.hold(site.deployment, "user_id:cho", by="test")
    site.now_s = int(time.time()) - 1
    site.tick()
    site.say(viewed(userId="bea"))
    site.settle()
    kills = 0

    def is_done() -> bool:
        site.settle()
        asked = site.asked()
        return len(asked) == len(silent) and all(one.step == Step.DONE for one in asked)

    while not is_done() and kills < 40:
        process = millrace(site, "run", "privacy", "--worker", "0/1")
        until = time.monotonic() + 4 + kills % 3 * 0.4
        while time.monotonic() < until and not is_done():
            time.sleep(0.1)
        process.kill()
        process.wait(10)
        kills += 1
    assert not any(map(site.knows, silent))
    assert kills > 1
    assert (site.knows("bea"), site.knows("cho")) == (True, True)
    asked = site.asked()
    assert len({one.customer for one in asked}) == len(asked) == len(silent), "each once"
    told = [one["id"] for one in lines(site.folder / "crm.jsonl") if one["type"] == "millrace.deletion"]
    assert len(set(told)) == len(silent)
