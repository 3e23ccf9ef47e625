"""`millrace demo`: the embedded stack with the life of a simulated shop, live or as one counted run.

shop, people, faults   what happens, with the truth about it     audit     that truth against what the state holds
publisher              sends it through the gateway              figures   what the engine says about itself
receiver               gets the triggers, checks signatures      follow    one customer's story
stack                  runs millrace                             screen    the live view
"""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import msgspec
from rich.console import Console
from rich.live import Live

from flows.demo.audit import Ledger, audit
from flows.demo.figures import Figures, Observer
from flows.demo.follow import Follower
from flows.demo.publisher import Publisher
from flows.demo.receiver import Got, Receiver
from flows.demo.report import Report, build, table
from flows.demo.screen import Screen
from flows.demo.shop import Shop
from flows.demo.stack import Stack, configuration
from flows.logic.rules import CompiledRules
from flows.status import collect
from schemas.config import Config
from schemas.errors import MillraceError, Unreachable
from state.client import reported

SEED = 20_000
RATE = 500.0  # events/s
LIVE_FOLDER = Path("data") / "demo"

_FLUSH_S = 5.0  # for the clients to hand over what they still hold
_QUIET_S = 15.0  # for the engine to finish, and for every profile to be right
_LAST_S = 5.0  # for the last triggers to arrive
_STABLE_S = 0.5  # no figure has changed for so long: it has finished
_DRAW_EVERY_S = 0.5
_HOUSEHOLDS_MAX = 10_000  # that the audit reads one by one; of more, as in a live demo of hours, the totals must do


def run(config_path: Path | None, headless: bool, seconds: float | None, as_json: bool) -> int:
    """The demo until `seconds` of publishing have passed, or Ctrl-C. 0 if nothing was lost or doubled and something was delivered.

    Headless, without a configuration, all data is in a temporary folder that is gone afterwards.
    """
    console = Console(stderr=as_json)
    with ExitStack() as exits:
        exits.enter_context(_sigterm_is_ctrl_c())
        folder = None if config_path else LIVE_FOLDER
        if headless and config_path is None:
            folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="millrace-")))
        follower = Follower()
        receiver = exits.enter_context(Receiver(follower.delivered))
        stack = exits.enter_context(Stack(configuration(config_path, folder, receiver)))
        with _one_line():
            report = _play(stack, receiver, follower, None if headless or not console.is_terminal else console, seconds)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.flush()
    else:
        console.print(table(report))
    return 0 if report.good else 1


@contextmanager
def _one_line() -> Iterator[None]:
    """millrace that went away is a line, not a traceback."""
    try:
        with reported():
            yield
    except httpx.HTTPError as error:
        raise Unreachable(f"millrace does not answer any more ({type(error).__name__}): its own log says why") from None


def _play(stack: Stack, receiver: Receiver, follower: Follower, console: Console | None, seconds: float | None) -> Report:
    """Publish, watch, wait for the end, count."""
    from flows import compose  # connects: only now is there something to connect to

    config = stack.config
    parts = compose.directory(config), compose.shards(config), compose.outbox(config)
    observer = Observer(lambda: collect(config, *parts, time.time_ns() // 1_000_000), stack.url, str(config.gateway.read_tokens[0]))
    before = observer.look()
    began_ms = time.time_ns() // 1_000_000
    ledger = Ledger()
    with Publisher(Shop(SEED, began_ms // 1000, RATE).items(), stack.url, ledger, follower.published) as publisher:
        try:
            if console is None:
                _wait(stack, publisher, seconds)
            else:
                _show(stack, publisher, Screen(observer, before, publisher, receiver, follower, stack.url), console, seconds)
        except KeyboardInterrupt:
            sys.stderr.write("millrace demo: finishing; Ctrl-C again gives up\n")
        took_s = (time.time_ns() // 1_000_000 - began_ms) / 1000
        publisher.stop(_FLUSH_S)
    deadline = time.monotonic() + _QUIET_S
    _settle(stack, observer, before, publisher, receiver, deadline)
    verdict = audit(ledger.households()[:_HOUSEHOLDS_MAX], observer.profile, deadline)
    figures, got = _settle(stack, observer, before, publisher, receiver, time.monotonic() + _LAST_S)
    observer.close()
    return build(took_s, publisher, ledger, figures, receiver, got, began_ms, verdict, _looking(config))


def _looking(config: Config) -> dict[str, list[str]]:
    """Of each model that is enabled the rules that look at its score."""
    rules = CompiledRules(config, 0, config.shards.dedupe)
    return {model.name: [trigger.rule.name for trigger in rules.triggers if model.name in trigger.models] for model in rules.models}


def _wait(stack: Stack, publisher: Publisher, seconds: float | None) -> None:
    until = time.monotonic() + seconds if seconds else None
    while until is None or time.monotonic() < until:
        _check(stack, publisher)
        time.sleep(0.1)


def _show(stack: Stack, publisher: Publisher, screen: Screen, console: Console, seconds: float | None) -> None:
    until = time.monotonic() + seconds if seconds else None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while until is None or time.monotonic() < until:
            _check(stack, publisher)
            with suppress(httpx.HTTPError, MillraceError):  # a part is being started again: the last picture stays until it is back
                live.update(screen.draw(console.height), refresh=True)
            time.sleep(_DRAW_EVERY_S)


def _check(stack: Stack, publisher: Publisher) -> None:
    stack.check()
    publisher.check()


def _settle(
    stack: Stack, observer: Observer, before: Figures, publisher: Publisher, receiver: Receiver, deadline: float
) -> tuple[Figures, list[Got]]:
    """Wait until all that was accepted is accounted for, and all triggers have arrived; or until `deadline`.

    Timers go on firing, so figures and triggers are of one moment: what had arrived before the figures were read.
    """
    last, still_since, figures = None, time.monotonic(), Figures()
    while True:
        stack.check()
        got = receiver.all()
        with suppress(httpx.HTTPError, MillraceError):  # as above
            figures = observer.look().since(before)
        now = (figures.applied, figures.duplicates, figures.rejects)
        if now != last:
            last, still_since = now, time.monotonic()
        complete = sum(now) >= publisher.accepted and len(got) >= figures.emitted
        if (complete and time.monotonic() - still_since >= _STABLE_S) or time.monotonic() > deadline:
            return figures, got
        time.sleep(0.1)


@contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
