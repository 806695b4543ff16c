"""Log lines: JSON objects, or readable text on a terminal; never with secrets."""

import logging
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import orjson
import structlog
from structlog.typing import EventDict, Processor

from gateway.observe.redact import printable, printable_json, printable_lines, redact

FORMATS = ("auto", "json", "text")
"""``auto``: text on a terminal, else JSON."""

# Kept at WARNING: at INFO httpx logs whole URLs, with their signatures.
_QUIET = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "asyncio", "aiohttp")
_SERVER_ERROR = 500
_REQUEST = "gateway.request"
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_USUAL_STATUS = frozenset({200, 503})
_LINES = frozenset({"exception", "stack", "bug"})
"""Fields whose value may have several lines."""
_SHARED: tuple[Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


class Stream(Protocol):
    """Where lines go: a TextIO, or a gateway.observe.log_writer.LogWriter."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


def configure_logs(
    level: str = "info",
    format: str = "auto",  # noqa: A002 - the config's word
    stream: Stream | None = None,
    node: str = "",
) -> None:
    """
    Send the log to *stream*: our lines from *level* on, those of libraries from WARNING on.

    Args:
        level: debug, info, warning or error.
        format: One of FORMATS.
        stream: Default: standard output.
        node: The name of this node in a cluster, which each line then has.
    """
    stream = stream or sys.stdout
    shared: tuple[Processor, ...] = (*_SHARED, partial(_add_node, node)) if node else _SHARED
    text = format == "text" or (format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # A plain traceback: one with locals would show keys and prompts.
                structlog.processors.format_exc_info,
                redact,
                *((_escape, _terminal(stream)) if text else (_json,)),
            ],
        )
    )
    _quiet_libraries()
    logging.getLogger().addHandler(handler)
    set_level(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            # Otherwise arguments are not part of the text, and redaction would miss them.
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _add_node(node: str, _: object, __: str, event: EventDict) -> EventDict:
    event["node"] = node
    return event


def set_level(level: str) -> None:
    """Write our own lines from *level* on: debug, info, warning or error."""
    logging.getLogger("gateway").setLevel(level.upper())


def _quiet_libraries() -> None:
    for name in _QUIET:
        logger = logging.getLogger(name or None)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def log_line(fields: Mapping[str, Any]) -> None:
    """
    Write the log line of a request, without empty *fields*.

    A bug is logged at ERROR, another failure of the gateway's or of upstream's at WARNING, a probe
    or scrape with a usual status at DEBUG.
    """
    line = {name: value for name, value in fields.items() if value not in (None, "", ())}
    line.pop("event", None)
    log = structlog.get_logger(_REQUEST)
    if "bug" in line:
        log.error("request", **line)
    elif line.get("route") in _PROBES and line.get("code") in _USUAL_STATUS:
        log.debug("request", **line)
    elif line.get("code", 0) >= _SERVER_ERROR:
        log.warning("request", **line)
    else:
        log.info("request", **line)


def _json(_: object, __: str, event: EventDict) -> str:
    return printable_json(orjson.dumps(event).decode())


def _escape(_: object, __: str, event: EventDict) -> EventDict:
    """Escape control characters in every text; the renderer writes other values by repr."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = (printable_lines if name in _LINES else printable)(value)
    return event


def _terminal(stream: Stream) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
