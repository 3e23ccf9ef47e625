"""What is full is waited for: nothing is lost, and a flow that is to end does not wait on."""

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from flows.runtime.engine import Stop
from flows.runtime.patience import PatientKeys, patiently, patiently_beside
from schemas.errors import KeysAway, LogFull, Unreachable


class Full:
    """A step that finds no room the first few times."""

    def __init__(self, times: int, again_s: float = 5.0) -> None:
        self.left, self.again_s = times, again_s
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise LogFull("the log is full", retry_after_s=0.01)
        return "made"


def test_it_waits_as_long_as_it_is_told_says_so_and_gives_what_was_made() -> None:
    waited: list[float] = []
    said: list[LogFull] = []
    step = Full(3)
    assert patiently(step, waited.append, said.append) == "made"
    assert (step.calls, waited, len(said)) == (4, [0.01] * 3, 3)


def test_a_flow_that_is_to_end_does_not_wait_on() -> None:
    step = Full(9)
    assert patiently(step, lambda _: step.calls == 2, lambda _: None) is None
    assert step.calls == 2


@pytest.mark.parametrize(("asked", "done"), [(False, True), (True, False)])
def test_a_stop_says_whether_it_was_done(asked: bool, done: bool) -> None:
    stop = Stop()
    if asked:
        stop.asked.set()
    step = Full(2)
    assert stop.patiently(step) is done
    assert step.calls == (3 if done else 1)


def test_another_error_is_not_waited_for() -> None:
    def away() -> None:
        raise Unreachable("Redis")

    with pytest.raises(Unreachable):
        patiently(away, lambda _: False, lambda _: None)
    with pytest.raises(Unreachable):
        asyncio.run(patiently_beside(away, lambda _: None))


def test_on_an_event_loop_others_go_on_meanwhile_and_a_cancel_ends_it() -> None:
    def forever() -> None:
        raise LogFull("full", retry_after_s=60)

    def soon() -> None:
        step()

    async def both() -> int:
        waiting = asyncio.create_task(patiently_beside(forever, lambda _: None))
        await patiently_beside(soon, lambda _: None)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return step.calls

    step = Full(2)
    assert asyncio.run(asyncio.wait_for(both(), 5)) == 3


class Away:
    """Data keys that cannot be asked `times` times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def of(self, origins: list[bytes]) -> dict[bytes, str]:
        self.left -= 1
        if self.left >= 0:
            raise KeysAway("Vault: cannot be reached", 5.0)
        return dict.fromkeys(origins, "key")

    current = of


@pytest.mark.parametrize("ask", [PatientKeys.of, PatientKeys.current])
def test_keys_that_are_away_are_waited_for_and_said_once(ask: Any) -> None:
    waited: list[float] = []
    keys = PatientKeys(cast(Any, Away(3)), waited.append, "match")
    with capture_logs() as lines:
        assert ask(keys, [b"a"]) == {b"a": "key"}
    assert waited == [5.0] * 3
    assert [(line["event"], line["waits"], line["reason"]) for line in lines] == [
        ("keys_away", "match", "Vault: cannot be reached")
    ]


def test_a_flow_that_is_to_end_does_not_wait_for_keys() -> None:
    with pytest.raises(KeysAway, match="the flow ends"):
        PatientKeys(cast(Any, Away(3)), lambda _: True, "match").of([b"a"])
