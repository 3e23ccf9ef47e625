"""`millrace demo`: the embedded stack with the life of a simulated shop, live or as one counted run.

shop              what happens, with the truth about it: `shoppers`, `oddities`, `malformed`
publisher         sends it through the gateway
trigger_receiver  gets the triggers, checks signatures
stack             runs millrace
audit             that truth, against what the state holds
figures           what the engine says about itself
follow            one customer's story
rights            one who withdraws a consent, and one who is erased
refusals          what was not sent, and why
screen            the live view
closing_report    what it ends with
"""

import math
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import httpx
import msgspec
import stamina
from rich.console import Console
from rich.live import Live
from rich.text import Text

from flows.lab.demo.audit import Ledger, audit
from flows.lab.demo.closing_report import Decided, Report, build, table
from flows.lab.demo.figures import Figures, Observer
from flows.lab.demo.follow import Follower
from flows.lab.demo.publisher import Publisher
from flows.lab.demo.refusals import Refusals
from flows.lab.demo.rights import Rights
from flows.lab.demo.screen import Screen
from flows.lab.demo.shop import Shop
from flows.lab.demo.stack import Stack, configuration
from flows.lab.demo.trigger_receiver import Got, Receiver
from flows.logic.facets.vocabulary import compile_rules
from flows.services.status import collect
from schemas.config import Config
from schemas.errors import MillraceError, Unreachable
from state.redis.client import reported

SEED = 20_000
RATE = 500.0  # events/s
LIVE_FOLDER = Path("data") / "demo"

_STABLE_S = 0.5  # no figure has changed for so long: it has finished
_TELL_EVERY_S = 1.0
_ODD_EVERY = 50  # deliveries: so often the receiver answers what is hardly an answer
_DRAW_EVERY_S = 0.5
_HOUSEHOLDS_MAX = (
    10_000  # that the audit reads one by one; of more, as in a live demo of hours, the totals must do
)


class Patience(msgspec.Struct, frozen=True):
    """How long the end may take, in seconds."""

    flush: float = 5.0  # for the clients to hand over what they still hold
    quiet: float = 15.0  # for the engine to finish
    audit: float = 60.0  # for every profile to be read, and to be right
    last: float = 5.0  # for the last triggers to arrive
    profile: float = 10.0  # for one of the profiles
    stop: float = 15.0  # for millrace to end
    rights: float = (
        150.0  # for who withdraws, and who is erased, to see it done: as long as an erasure may wait
    )
    still: float = (
        2.0  # where nothing has been applied for so long nothing is on its way any more: it is lost
    )


# Who pressed Ctrl-C waits for fifteen seconds at most; what has not come by then is said, and is not lost.
_PRESSED = Patience(flush=2.0, quiet=4.0, audit=3.0, last=0.5, profile=1.0, stop=4.0, rights=0.0, still=10.0)
_PRESSED_S = (
    10.0  # until it is counted, however long each of these takes on a machine that is too busy for them
)


def run(config_path: Path | None, headless: bool, seconds: float | None, as_json: bool) -> int:
    """Run the demo until `seconds` of publishing have passed, or Ctrl-C. Return 0 if nothing was lost or
    doubled and something was delivered.

    Headless, without a configuration, all data is in a temporary folder that is gone afterwards.
    """
    console = Console(stderr=as_json)
    # What is tried again is counted; its lines would tear the picture.
    stamina.instrumentation.set_on_retry_hooks([])
    with ExitStack() as exits:
        exits.enter_context(_sigterm_is_ctrl_c())
        folder = None if config_path else LIVE_FOLDER
        if headless and config_path is None:
            folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="millrace-")))
        follower = Follower()
        receiver = exits.enter_context(Receiver(follower.delivered, _ODD_EVERY))
        stack = Stack(configuration(config_path, folder, receiver))
        said = f"millrace starts; what it says is in {stack.log}"
        with console.status(said) if console.is_terminal and not headless else nullcontext():
            exits.enter_context(stack)
        with _one_line():
            report = _play(
                stack, receiver, follower, None if headless or not console.is_terminal else console, seconds
            )
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
        raise Unreachable(
            f"millrace does not answer any more ({type(error).__name__}): its own log says why"
        ) from None


def _play(
    stack: Stack, receiver: Receiver, follower: Follower, console: Console | None, seconds: float | None
) -> Report:
    """Publish, watch, wait for the end, count."""
    from flows.runtime.deployment import Deployment  # connects: only now is there something to connect to

    config = stack.config
    deployment = Deployment(config)
    parts = deployment.directory, deployment.shards, deployment.outbox
    observer = Observer(
        lambda: collect(config, *parts, time.time_ns() // 1_000_000),
        stack.url,
        str(config.gateway.read_tokens[0]),
    )
    before = observer.look()
    began_ms = time.time_ns() // 1_000_000
    ledger = Ledger()
    refusals = Refusals(deployment)
    patience, progress, end = Patience(), _Progress(console), math.inf
    with Publisher(
        Shop(SEED, began_ms // 1000, RATE).items(), stack.url, ledger, follower.published
    ) as publisher:
        rights = Rights(
            deployment, publisher, receiver, ledger, refusals, observer.profile, run=began_ms // 1000
        )
        rights.start()
        try:
            if console is None:
                _wait(stack, publisher, seconds)
            else:
                _show(
                    stack,
                    publisher,
                    Screen(observer, before, publisher, receiver, follower, stack.url, rights.lines),
                    console,
                    seconds,
                )
            _wait_for(rights, stack, publisher, progress, patience.rights)
        except KeyboardInterrupt:
            sys.stderr.write("millrace demo: finishing, within 15 s; Ctrl-C again gives up\n")
            patience, end = _PRESSED, time.monotonic() + _PRESSED_S
            observer.hurry(patience.profile)
            stack.patience_s = patience.stop
        rights.stop()
        took_s = (time.time_ns() // 1_000_000 - began_ms) / 1000
        publisher.stop(
            patience.flush, lambda pending: progress.tell(f"{pending:,} events are not acknowledged yet")
        )
    settling = _Settling(stack, observer, before, publisher, receiver, refusals, progress)
    settling.wait(min(end, time.monotonic() + patience.quiet), patience.still)
    houses = ledger.households()[:_HOUSEHOLDS_MAX]
    verdict = audit(
        houses,
        observer.profile,
        min(end, time.monotonic() + patience.audit),
        lambda read, of: progress.tell(f"{read:,} of {of:,} households are counted"),
        hurried=patience is _PRESSED,
    )
    figures, got, busy = settling.wait(min(end, time.monotonic() + patience.last), patience.still)
    decided = Decided(
        withheld=frozenset(refused.id for refused in refusals.all()),
        outcome=rights.outcome(),
        troubles=() if patience is _PRESSED else rights.troubles,
        due=("withdrawal", "erasure") if rights.asks else ("erasure",),
        excused=patience is _PRESSED,
    )
    observer.close()
    progress.tell("millrace stops", at_once=True)
    return build(
        took_s,
        publisher,
        ledger,
        figures,
        receiver,
        got,
        began_ms,
        verdict,
        _looking(config),
        busy,
        decided,
    )


class _Progress:
    """A line that is rewritten in place on a terminal, or one after the other elsewhere."""

    def __init__(self, console: Console | None) -> None:
        self._end = "\r" if console is not None and sys.stderr.isatty() else "\n"
        self._told = time.monotonic()

    def tell(self, what: str, *, at_once: bool = False) -> None:
        """Tell how far it is, not more often than once a second."""
        if at_once or time.monotonic() - self._told >= _TELL_EVERY_S:
            self._told = time.monotonic()
            sys.stderr.write(f"millrace demo: {what:60}{self._end}")
            sys.stderr.flush()


def _looking(config: Config) -> dict[str, list[str]]:
    """Of each model that is enabled the rules that look at its score."""
    rules = compile_rules(config, 0, config.shards.dedupe)
    return {
        model.name: [trigger.rule.name for trigger in rules.triggers if model.name in trigger.models]
        for model in rules.models
    }


def _wait(stack: Stack, publisher: Publisher, seconds: float | None) -> None:
    until = time.monotonic() + seconds if seconds else None
    while until is None or time.monotonic() < until:
        _check(stack, publisher)
        time.sleep(0.1)


def _wait_for(
    rights: Rights, stack: Stack, publisher: Publisher, progress: _Progress, timeout_s: float
) -> None:
    """The shop is closed, so that a slow machine catches up."""
    publisher.close()
    until = time.monotonic() + timeout_s
    while not rights.wait(0.1) and time.monotonic() < until:
        _check(stack, publisher)
        progress.tell("one withdraws a consent and one is erased: not done yet")


def _show(
    stack: Stack, publisher: Publisher, screen: Screen, console: Console, seconds: float | None
) -> None:
    until = time.monotonic() + seconds if seconds else None
    with Live(
        Text("The first events are on their way ..."), console=console, screen=True, auto_refresh=False
    ) as live:
        while until is None or time.monotonic() < until:
            _check(stack, publisher)
            # A part is being started again: the last picture stays until it is back.
            with suppress(httpx.HTTPError, MillraceError):
                live.update(screen.draw(console), refresh=True)
            time.sleep(_DRAW_EVERY_S)


def _check(stack: Stack, publisher: Publisher) -> None:
    stack.check()
    publisher.check()


class _Settling:
    """What becomes of all that was accepted, watched until it comes to rest."""

    def __init__(
        self,
        stack: Stack,
        observer: Observer,
        before: Figures,
        publisher: Publisher,
        receiver: Receiver,
        refusals: Refusals,
        progress: _Progress,
    ) -> None:
        self._parts = stack, observer, publisher, receiver, refusals
        self._before, self._progress = before, progress
        self._last, self._still_since = (-1, -1, -1), time.monotonic()
        self._figures = Figures()

    def wait(self, deadline: float, still_max_s: float) -> tuple[Figures, list[Got], bool]:
        """Wait until all is accounted for and all triggers have arrived, or until `deadline`. The last value
        returned: whether events went on being applied in the last `still_max_s`, or wait in the raw log.

        Timers go on firing, so figures and triggers are of one moment: what had arrived before the figures
        were read.
        """
        stack, observer, publisher, receiver, refusals = self._parts
        refused = 0
        while True:
            stack.check()
            got = receiver.all()
            with suppress(httpx.HTTPError, MillraceError):  # as above
                self._figures = observer.look().since(self._before)
                refused = len(refusals.all())
            figures = self._figures
            now = (figures.applied, figures.duplicates, figures.rejects)
            if now != self._last:
                self._last, self._still_since = now, time.monotonic()
            complete = sum(now) >= publisher.accepted and len(got) + refused >= figures.emitted
            still_s = time.monotonic() - self._still_since
            if complete and still_s >= _STABLE_S:
                return figures, got, False
            if time.monotonic() > deadline:  # what was delivered by the time of the figures is here by now
                return figures, receiver.all(), still_s < still_max_s or figures.lag.get("resolve", 0) > 0
            said = (
                f"{sum(now):,} of {publisher.accepted:,} events applied, {len(got):,} "
                f"of {figures.emitted:,} triggers here"
            )
            self._progress.tell(said)
            time.sleep(0.1)


@contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
