import io
import json
import logging
from typing import Any

import httpx
import pytest
import structlog

from gateway.observe.logs import configure_logs, log_line

pytestmark = pytest.mark.anyio

_CANARY = "canary0123456789"


class _TerminalStream(io.StringIO):
    def isatty(self) -> bool:
        return True


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_json_line() -> None:
    """A request's fields stand flat in one object, without the empty ones."""
    stream = io.StringIO()
    configure_logs("info", "json", stream)

    log_line({"request_id": "r-1", "status": 200, "tenant": "", "task": None, "event": "x"})

    (line,) = _lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "gateway.request",
        "request_id": "r-1",
        "status": 200,
    }


@pytest.mark.parametrize(
    ("code", "route", "level"),
    [
        (200, "/v1/images/edits", "info"),
        (400, "/v1/images/edits", "info"),
        (500, "/v1/images/edits", "warning"),
        (503, "/v1/images/edits", "warning"),
        (500, "/readyz", "warning"),
    ],
)
def test_a_failure_is_a_warning(code: int, route: str, level: str) -> None:
    """Whoever reads warnings sees every request that failed for no reason of its client's."""
    stream = io.StringIO()
    configure_logs("info", "json", stream)

    log_line({"request_id": "r-1", "code": code, "route": route})

    assert [line["level"] for line in _lines(stream)] == [level]


def test_a_bug_is_an_error() -> None:
    """A request that met a bug is seen by whoever reads errors only."""
    stream = io.StringIO()
    configure_logs("error", "json", stream)

    log_line({"request_id": "r-1", "bug": ""})
    log_line({"request_id": "r-2", "bug": "KeyError at app.py:7"})

    (line,) = _lines(stream)
    assert (line["level"], line["request_id"]) == ("error", "r-2")


@pytest.mark.parametrize("route", ["/healthz", "/readyz", "/metrics"])
def test_probes_are_not_told(route: str) -> None:
    """A probe or scrape that went as usual is written at debug, one that did not at info."""
    stream = io.StringIO()
    configure_logs("info", "json", stream)

    log_line({"route": route, "code": 200})
    log_line({"route": route, "code": 503})
    log_line({"route": route, "code": 401})
    log_line({"route": route, "code": 200, "bug": "KeyError"})

    assert [line.get("code") for line in _lines(stream)] == [401, 200]


@pytest.mark.parametrize(
    ("level", "written"),
    [
        pytest.param("debug", 3, id="debug"),
        pytest.param("info", 2, id="info"),
        pytest.param("warning", 1, id="warning"),
        pytest.param("error", 0, id="error"),
    ],
)
def test_level(level: str, written: int) -> None:
    """Our own lines are written from the configured level on."""
    stream = io.StringIO()
    configure_logs(level, "json", stream)

    log = structlog.get_logger("gateway.x")
    log.debug("d")
    log.info("i")
    log.warning("w")

    assert len(_lines(stream)) == written


def test_no_canary_at_debug_level() -> None:
    """At the most talkative level no key, prompt, signature or picture is written."""
    stream = io.StringIO()
    configure_logs("debug", "json", stream)
    log = structlog.get_logger("gateway.x")

    log.debug("sent Bearer %s", _CANARY, prompt=_CANARY, authorization=_CANARY)
    log.info("got", url=f"https://a.test/x?Signature={_CANARY}&OSSAccessKeyId={_CANARY}")
    logging.getLogger("gateway.y").debug("key %s", f"sk-{_CANARY}")
    logging.getLogger("uvicorn.error").error("data:image/png;base64,%s", _CANARY)

    assert len(_lines(stream)) == 4
    assert _CANARY not in stream.getvalue()


@pytest.mark.parametrize("form", [pytest.param("json", id="json"), pytest.param("text", id="text")])
def test_tracebacks_show_no_locals_and_no_secrets(form: str) -> None:
    """A traceback names files and lines; values of variables and keys in texts are out."""
    stream = io.StringIO()
    configure_logs("info", form, stream)
    hidden = "in-a-local"

    try:
        _refuse(f"sk-{_CANARY}")
    except ValueError:
        structlog.get_logger("gateway.x").exception("broke", n=len(hidden))
        logging.getLogger("asyncio").exception("broke too")

    log_text = stream.getvalue()
    assert log_text.count("ValueError: bad key sk-***") == 2
    assert "test_logs.py" in log_text
    assert _CANARY not in log_text
    assert hidden not in log_text


def _refuse(key: str) -> None:
    raise ValueError(f"bad key {key}")


async def test_httpx_does_not_tell_urls() -> None:
    """httpx writes each URL with its signature at INFO: that is off, even at debug."""
    stream = io.StringIO()
    configure_logs("debug", "json", stream)
    storage = httpx.MockTransport(lambda _: httpx.Response(200))

    async with httpx.AsyncClient(transport=storage) as client:
        await client.get(f"https://a.test/x?Signature={_CANARY}")

    assert stream.getvalue() == ""


def test_others_are_heard_from_warning_on() -> None:
    """A library's warning is a line of the same shape; its chatter is none."""
    stream = io.StringIO()
    configure_logs("debug", "json", stream)

    logging.getLogger("uvicorn.access").info("GET /")
    logging.getLogger("some.library").warning("odd: %s", "thing")

    (line,) = _lines(stream)
    assert (line["event"], line["level"], line["logger"]) == (
        "odd: thing",
        "warning",
        "some.library",
    )


def test_configured_twice_writes_once() -> None:
    """A second configuration replaces the first."""
    first, second = io.StringIO(), io.StringIO()
    configure_logs("info", "json", first)
    configure_logs("info", "json", second)

    structlog.get_logger("gateway.x").info("once")

    assert first.getvalue() == ""
    assert len(_lines(second)) == 1


@pytest.mark.parametrize(
    ("form", "stream", "colours"),
    [
        pytest.param("auto", _TerminalStream(), True, id="terminal"),
        pytest.param("text", io.StringIO(), False, id="text-in-a-file"),
    ],
)
def test_text(form: str, stream: io.StringIO, *, colours: bool) -> None:
    """On a terminal a line is for eyes; colours only where somebody looks."""
    configure_logs("info", form, stream)

    log_line({"request_id": "r-1"})

    assert "request_id" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
    assert ("\x1b[" in stream.getvalue()) is colours


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_control_character_is_written(form: str) -> None:
    """Whatever a client sends, a line is one line, and steers no terminal that shows it."""
    hostile = "/\x1b]0;x\x07\x9b2J\r\nfake line\x7f\u202e"
    stream = io.StringIO()
    configure_logs("info", form, stream)
    log = structlog.get_logger("gateway.x")

    log_line({"path": hostile, "task_ids": [hostile], "more": {"a": hostile}})
    log.warning(hostile, code=ValueError(hostile))
    logging.getLogger("other").warning("odd: %s", hostile)
    try:
        _refuse(hostile)
    except ValueError:
        log.exception("broke")

    first, second, third, *rest = stream.getvalue().splitlines()
    assert [first.count("fake"), second.count("fake"), third.count("fake")] == [3, 2, 1]
    assert all(line.isprintable() for line in (first, second, third, *rest))


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a stream, lines go to standard output, as JSON when it is no terminal."""
    configure_logs()

    log_line({"request_id": "r-1"})

    assert json.loads(capsys.readouterr().out)["request_id"] == "r-1"
