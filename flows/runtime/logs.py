"""How the processes log: JSON for machines, colours on a terminal, never personal data.

The rule for callers: an event name in snake_case, and values that are counts, codes, names of ours or keyed
hashes. What this file adds to it: tracebacks are printed without the values of local variables, and the
access log of the HTTP server is off.
"""

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from schemas.config import Log

_CHATTY = ("asyncio", "httpcore", "httpx", "uvicorn")


def configure(settings: Log, flow: str, worker: str = "") -> None:
    """Set up structlog, and the standard library's logging through it, on stderr; `flow` and `worker`
    (`3/16`) stand in every line."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _bound(flow, worker),
    ]
    if as_json:
        shared.append(structlog.processors.format_exc_info)
        renderer: Processor = structlog.processors.JSONRenderer(serializer=_json)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback
        )  # the rich one shows locals
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _bound(flow: str, worker: str) -> Processor:
    fixed = {"flow": flow, "worker": worker} if worker else {"flow": flow}

    def bind(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, **fixed}

    return bind


def _json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=repr).decode()
