"""The composition root of the gateway: the log, the profiles and the schemas behind one HTTP server."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

import structlog

from connectors.centre import centre_routes
from connectors.gateway import Door, Standing, build, listen, server
from connectors.gateway.opendsr_routes import OpenDsr
from flows.runtime.deployment import Deployment
from flows.runtime.ready import begun
from flows.services import decisions
from flows.services.centre.desk import CentreDesk
from flows.services.steward.access import order_desk, steward
from flows.services.steward.desk import Steward
from flows.services.steward.orders import OrderDesk, event
from flows.services.subjects.over_http import OpenDsrDesk, ProcessorDesk, RegulationDesk, RightsDesk
from schemas.config import Config, KafkaConnector, OpenDsrConnector
from schemas.errors import ConfigError, Restarted
from schemas.records.identity_graph import Order
from schemas.wire.events import RawEvent, Reject
from schemas.wire.trigger_avro import REGISTERED, SUBJECT, Registered
from state.redis.client import reported

log = structlog.get_logger()

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def run(deployment: Deployment) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises `Fatal` when the address cannot be had, `Restarted` when Redis is
    another one."""
    config = deployment.config
    # the server raises the signal again when it has stopped
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with listen(config.gateway.listen) as listener:
        ending = _Ending()
        desk = _Stewardship(steward(deployment), order_desk(deployment), ending)
        door = open_door(deployment)
        read = ending.guard(deployment.profile_reader)
        told = standing(deployment.apart())
        app = build(
            config.gateway,
            deployment.raw_writer(),
            read,
            subjects(config),
            desk,
            told,
            door,
            _Guarded(RightsDesk(deployment), ending),
            _Guarded(RegulationDesk(deployment), ending),
            _opendsr(deployment, ending),
            _Guarded(ProcessorDesk(deployment), ending) if _has_processors(config) else None,
            centre_routes(config, _Guarded(CentreDesk(deployment), ending)) if config.centre.enabled else (),
            ending.guard(partial(_decisions, deployment)),
        )
        serving = server(app)
        ending.end = lambda: setattr(serving, "should_exit", True)
        log.info("gateway_listens", address=config.gateway.listen)
        begun()
        serving.run(sockets=[listener])
    if ending.fault is not None:
        raise ending.fault


def _decisions(deployment: Deployment, who: str, limit: int, lang: str) -> list[dict[str, Any]]:
    return [decisions.plain(one, lang) for one in decisions.of(deployment, who, limit=limit)]


def open_door(deployment: Deployment) -> Door:
    """Return what refuses events at the gateway.

    A tracking plan that cannot be used ends `resolve`, and must not end this: events are taken in, and wait.
    """
    try:
        judge = deployment.validator()
    except ConfigError as error:
        log.error("plan_unusable", error=str(error), meanwhile="events are taken in, and wait for resolve")
        judge = deployment.validator(planned=False)
    return Door(deployment.config, judge.refusal)


class _Ending:
    """Ends the server in order when Redis is no longer the one that it began with."""

    def __init__(self) -> None:
        self.fault: Restarted | None = None
        self.end: Callable[[], None] = lambda: None

    def guard(self, read: Callable[Asked, Answer]) -> Callable[Asked, Answer]:
        """Return `read`, which may find that out now."""

        def guarded(*args: Asked.args, **options: Asked.kwargs) -> Answer:
            try:
                with reported():
                    return read(*args, **options)
            except Restarted as fault:
                self.fault = fault
                self.end()
                raise

        return guarded


class _Stewardship:
    """A `connectors.gateway.identity_routes.Stewardship`."""

    def __init__(self, desk: Steward, orders: OrderDesk, ending: _Ending) -> None:
        self._orders = orders
        self.show = ending.guard(desk.show)
        self.history = ending.guard(desk.history)
        self.reviews = ending.guard(desk.reviews)
        self.review = ending.guard(desk.review)
        self.decision = ending.guard(desk.decision)
        self.judge = ending.guard(self._judge)

    def _judge(self, document: bytes) -> tuple[Order, RawEvent, str] | Reject:
        order = self._orders.read(document)
        return order if isinstance(order, Reject) else (order, event(document), self._orders.objection(order))


class _Guarded:
    """An object whose methods may find out now that Redis is another one."""

    def __init__(self, desk: object, ending: _Ending) -> None:
        self._desk = desk
        self._ending = ending

    def __getattr__(self, name: str) -> Any:
        return self._ending.guard(getattr(self._desk, name))


def standing(apart: Deployment) -> Callable[[], Standing]:
    """Return what tells the gateway, by whichever Redis is there now, whose events are not taken and which
    processes are given up. It remembers nothing that could be younger."""
    suspended, given_up = apart.sources, apart.given_up

    def ask() -> Standing:
        with reported():
            held = (source for source, found in suspended.all().items() if found.holds)
            return Standing(frozenset(held), tuple(given_up.all()))

    return ask


def _opendsr(deployment: Deployment, ending: _Ending) -> OpenDsr | None:
    """Return what controllers get. Files that cannot sign end only this: events must be taken in."""
    if not deployment.config.opendsr.url:
        return None
    try:
        return cast(OpenDsr, _Guarded(OpenDsrDesk(deployment), ending))
    except ConfigError as error:
        log.error("opendsr_unusable", error=str(error), meanwhile="no request of a controller is served")
        return None


def _has_processors(config: Config) -> bool:
    return any(isinstance(connector, OpenDsrConnector) for connector in config.connector)


def subjects(config: Config) -> Mapping[str, Sequence[Registered]]:
    """Return the trigger schema under its own subject, and under that of each topic that gets triggers as
    Avro."""
    topics = [
        connector.topic
        for connector in config.connector
        if isinstance(connector, KafkaConnector) and connector.format == "avro"
    ]
    return {SUBJECT: REGISTERED} | {f"{topic}-value": REGISTERED for topic in topics}
