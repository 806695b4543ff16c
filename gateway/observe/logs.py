"""Every log line: one JSON object each, or readable on a terminal; secrets are taken out."""

import logging
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import orjson
import structlog
from structlog.typing import EventDict, Processor

from gateway.observe.printable import printable, printable_json, printable_lines
from gateway.observe.redact import redact

FORMATS = ("auto", "json", "text")
"""``auto``: text on a terminal, else JSON."""

# Whatever our own level: httpx writes whole URLs at INFO, with their signatures.
_QUIET = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "asyncio", "aiohttp")
_REQUEST = "gateway.request"
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_USUAL = frozenset({200, 503})
_LINES = frozenset({"exception", "stack", "bug"})
"""What may have several."""
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


def configure_logs(level: str = "info", format: str = "auto", stream: Stream | None = None) -> None:  # noqa: A002 - the config's word
    """
    Send every line of this process to *stream*, ours from *level* on, others' from WARNING on.

    Args:
        level: debug, info, warning or error.
        format: One of FORMATS.
        stream: Standard output unless told.
    """
    stream = stream or sys.stdout
    text = format == "text" or (format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # A plain traceback: one with locals would show keys and prompts.
                structlog.processors.format_exc_info,
                redact,
                *((_escape, _terminal(stream)) if text else (_json,)),
            ],
        )
    )
    _hush_others()
    logging.getLogger().addHandler(handler)
    logging.getLogger("gateway").setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            # Else arguments stand beside their text, where no pattern knows them.
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _hush_others() -> None:
    for name in _QUIET:
        logger = logging.getLogger(name or None)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def log_line(fields: Mapping[str, Any]) -> None:
    """
    Write the one line of a request: what *fields* say, less what is empty.

    A bug is an error; a probe or scrape that went as usual is of interest to nobody but DEBUG.
    """
    said = {name: value for name, value in fields.items() if value not in (None, "", ())}
    said.pop("event", None)
    log = structlog.get_logger(_REQUEST)
    if "bug" in said:
        log.error("request", **said)
    elif said.get("route") in _PROBES and said.get("code") in _USUAL:
        log.debug("request", **said)
    else:
        log.info("request", **said)


def _json(_: object, __: str, event: EventDict) -> str:
    return printable_json(orjson.dumps(event).decode())


def _escape(_: object, __: str, event: EventDict) -> EventDict:
    """Take what could steer a terminal out of every text; whatever else there is goes by repr."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = (printable_lines if name in _LINES else printable)(value)
    return event


def _terminal(stream: Stream) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
