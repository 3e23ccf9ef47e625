"""The one door before every send: what it lets pass, and that no way out goes around it."""

import ast
import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from connectors.sinks.sink import DELIVERED, Delivery, Retry
from flows.cli.main import main
from flows.dispatch import admission
from flows.dispatch.admission import Admission
from flows.dispatch.verdicts import Admitted, Dead, Dropped, Postponed
from flows.runtime.deployment import Deployment
from schemas.config.toml import load
from schemas.errors import CustomerDamaged, KeysAway, Unreachable
from schemas.wire.triggers import Trigger
from tests.deliveries import trigger
from tests.delivering import Rig, Scripted, named, unpack
from tests.waiting import eventually

WITHDRAWN = Dropped("the consent was withdrawn")


@pytest.fixture
def rig(redis_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(redis_url, tmp_path)
    yield made
    if made.stopping is not None:
        made.stop()
    made.redis.close()


def nobody(triggers: Sequence[Trigger]) -> list[Dropped]:
    return [WITHDRAWN] * len(triggers)


def door(**options: object) -> Admission:
    connector = msgspec.structs.replace(named("crm"), identify=("email",))
    return Admission(connector, **({"identify": known, "report": not_asked} | options))  # type: ignore[arg-type]


def not_asked(trigger: Trigger, connector: str, refusal: Dropped) -> None:
    raise AssertionError("what has no code is not recorded")


def known(customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"email": f"{int(customer, 16)}@example.org"} for customer in customers]


# --- what it says


def test_what_an_entry_holds_is_a_trigger_or_why_there_is_none() -> None:
    ours = msgspec.msgpack.encode(trigger(1, to=("crm", "hook")))
    found = door().read(ours)
    assert isinstance(found, Trigger)
    assert found.id == "trg-1"
    assert isinstance(door().read(msgspec.msgpack.encode(trigger(1, to=("hook",)))), Dropped)
    broken = door().read(b"\xc1")
    assert isinstance(broken, Dead)
    assert broken.reason.startswith("not a trigger: ")
    closed = door()
    closed.disabled = True
    assert isinstance(closed.read(ours), Dropped)
    assert asyncio.run(closed.admit([trigger(1)])) == [Dead("the connector is disabled")]


def test_what_passes_carries_the_names_that_hold_now() -> None:
    first, second = trigger(1), trigger(2)
    assert asyncio.run(door().admit([first, second])) == [
        Admitted(Delivery(first, {"email": "1@example.org"})),
        Admitted(Delivery(second, {"email": "2@example.org"})),
    ]


def test_each_gate_is_asked_about_what_the_ones_before_let_pass_and_names_come_last() -> None:
    asked: list[list[str]] = []
    dead = Dead("suppressed")

    def odd(triggers: Sequence[Trigger]) -> list[Dropped | None]:
        asked.append([item.id for item in triggers])
        return [WITHDRAWN if int(item.customer, 16) % 2 else None for item in triggers]

    def four(triggers: Sequence[Trigger]) -> list[Dead | None]:
        asked.append([item.id for item in triggers])
        return [dead if item.id == "trg-4" else None for item in triggers]

    def opened(customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
        asked.append([f"trg-{int(customer, 16)}" for customer in customers])
        return known(customers, fields)

    last = trigger(2)
    verdicts = asyncio.run(door(identify=opened, gates=[odd, four]).admit([trigger(1), trigger(4), last]))
    assert verdicts == [WITHDRAWN, dead, Admitted(Delivery(last, {"email": "2@example.org"}))]
    assert asked == [["trg-1", "trg-4", "trg-2"], ["trg-4", "trg-2"], ["trg-2"]]


def test_who_cannot_be_named_holds_up_nobody_else() -> None:
    def damaged(customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
        if any(int(customer, 16) == 2 for customer in customers):
            raise CustomerDamaged("shard 0 of customer 2")
        return known(customers, fields)

    one, two, three = asyncio.run(door(identify=damaged).admit([trigger(1), trigger(2), trigger(3)]))
    assert two == Postponed("the customer cannot be named: shard 0 of customer 2")
    assert isinstance(one, Admitted)
    assert isinstance(three, Admitted)


def test_a_server_that_is_away_is_nobodys_fault() -> None:
    def away(customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
        raise Unreachable("Redis")

    with pytest.raises(Unreachable):
        asyncio.run(door(identify=away).admit([trigger(1)]))


# --- the three ways out


def test_a_door_that_refuses_everything_stops_a_first_attempt(rig: Rig) -> None:
    sink = Scripted(lambda _: DELIVERED)
    rig.sinks, rig.gates = {"a": sink}, [nobody]
    rig.start(named("a"))
    rig.emit(*(trigger(number, to=("a",)) for number in range(3)))
    eventually(lambda: rig.cursor("a") == 3)
    assert (sink.seen, rig.dead) == ([], [])


def test_it_stops_a_retry(rig: Rig) -> None:
    refused: list[str] = []

    def once(triggers: Sequence[Trigger]) -> list[Dead | None]:
        again = [Dead("suppressed since") if item.id in refused else None for item in triggers]
        refused.extend(item.id for item in triggers)
        return again

    sink = Scripted(lambda _: Retry("status 503"))
    rig.sinks, rig.gates = {"a": sink}, [once]
    rig.start(named("a"))
    rig.emit(trigger(1, to=("a",)))
    eventually(lambda: rig.cursor("a") == 1)
    assert sink.ids == ["trg-1"]
    [(connector, body, reason)] = rig.dead
    assert (connector, unpack(body).id, reason) == ("a", "trg-1", "suppressed since")


def test_it_stops_the_replay_of_a_dead_letter(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text(
        f'[redis]\nurl = "{redis_url}"\n[shards]\ncount = 2\n[data]\nfolder = "{tmp_path}/data"\n'
        '[[connector]]\nname = "crm"\ntype = "file"\npath = "crm.jsonl"\n'
    )
    deployment = Deployment(load(file))
    deployment.prepare()
    deployment.deliveries.keep_dead("crm", msgspec.msgpack.encode(trigger(1, to=("crm",))), "status 503")
    [letter] = deployment.dead_deliveries.oldest()
    monkeypatch.setattr(sys, "argv", ["millrace", "dead", "replay", "--all", "-c", str(file)])
    with monkeypatch.context() as closed:
        closed.setattr(admission, "GATES", (lambda _deployment: nobody,))
        assert main() == 1
    assert f"{letter.name} not sent: {WITHDRAWN.reason}\n0 sent again, 1 not\n" in capsys.readouterr().out
    assert [kept.name for kept in deployment.dead_deliveries.oldest()] == [letter.name]
    assert list(tmp_path.rglob("crm.jsonl*")) == []
    assert main() == 0, "it was the door"
    assert list(tmp_path.rglob("crm.jsonl*")) != []


def test_nothing_else_makes_what_a_sink_takes() -> None:
    """Whoever sends has to have a `Delivery`, and only the door gives one."""
    root = Path(admission.__file__).parents[2]
    makers = {
        path.relative_to(root).as_posix()
        for folder in ("flows", "connectors", "state")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Delivery"
    }
    assert makers == {"flows/dispatch/admission.py"}


@pytest.mark.parametrize("withdrawn", [False, True])
def test_keys_that_are_away_are_waited_for_and_then_all_is_asked_again(withdrawn: bool) -> None:
    asked: list[int] = []

    def gate(triggers: Sequence[Trigger]) -> list[Dropped | None]:
        refused = withdrawn and len(asked) == 2
        return [WITHDRAWN if refused else None] * len(triggers)

    def away(customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
        asked.append(len(customers))
        if len(asked) <= 2:
            raise KeysAway("Vault: cannot be reached", 0.01)
        return known(customers, fields)

    with capture_logs() as lines:
        [verdict] = asyncio.run(door(identify=away, gates=[gate]).admit([trigger(1)]))
    assert verdict == WITHDRAWN if withdrawn else isinstance(verdict, Admitted)
    assert [(line["event"], line["waits"]) for line in lines] == [("keys_away", "crm")]
