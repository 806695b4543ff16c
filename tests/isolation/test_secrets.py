"""Canary keys, prompts and signed URLs go through every end of the app: into no text or span."""

import asyncio
import io
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.app import _log_bug
from gateway.app import build as build_gateway
from gateway.config.build import build as build_config
from gateway.config.schema import Config
from gateway.domain.clock import SystemClock
from gateway.observe.logs import configure_logs
from gateway.sandbox import Answer, Cut, Drop, End, Fault, Forget
from gateway.upstream.clients import Purpose
from tests.fast_time import FAST_TIME
from tests.harness import PLAIN, Harness, direct, hashed, pictures_of, start_harness, tables
from tests.trace_collector import collector

pytestmark = pytest.mark.anyio

_UPSTREAM_KEY = "sk-canaryupstream0123456789abcdef"
_CUSTOMER_KEY = "wk-canarycustomer0123456789abcdef"
_COLLECTOR_KEY = "canary-of-the-collector"
_WRONG_KEY = "wk-canarywrong0123456789abcdef"
_TOKEN = "canarytoken0123456789abcdef"
_PROMPT = "canary prompt of a private kind"
_SECRETS = (
    _UPSTREAM_KEY,
    _CUSTOMER_KEY,
    _WRONG_KEY,
    _TOKEN,
    "canary",
    "Signature=",
    "OSSAccessKeyId=",
    hashed(_CUSTOMER_KEY).removeprefix("sha256:"),
)
_LOUD = (
    *("httpx", "httpcore", "aiohttp.client", "aiohttp.access", "aiohttp.internal", "asyncio"),
    *("uvicorn", "uvicorn.error", "uvicorn.access", "PIL", "urllib3", "opentelemetry"),
)
"""Loggers of libraries, which are quiet unless an operator's program makes them talk."""
_SOON = {"x-stainless-read-timeout": "3"}


@pytest.fixture
def anyio_backend() -> Any:
    return FAST_TIME


@pytest.fixture(params=["json", "text"])
def log(request: pytest.FixtureRequest) -> io.StringIO:
    """All that the process and its libraries log, from debug on."""
    stream = io.StringIO()
    configure_logs("debug", request.param, stream)
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.DEBUG)
    return stream


def clean(text: str) -> str:
    """Return *text*; it holds none of the secrets."""
    seen = text.lower().replace("=***", "")
    found = [secret for secret in _SECRETS if secret.lower() in seen]
    assert not found, text
    return text


@asynccontextmanager
async def _canaries(*faults: Fault, **more: Any) -> AsyncIterator[Harness]:
    region = replace(PLAIN, accounts={"main": (_UPSTREAM_KEY,)}, faults=faults)
    tenants = {"acme": {"region": "beijing", "keys": [hashed(_CUSTOMER_KEY)]}}
    environ = {"KEY": _UPSTREAM_KEY, "AUTH": f"Bearer {_COLLECTOR_KEY}", "TOKEN": _TOKEN}
    more = {"dashboard": {"on": True, "token": "env:TOKEN", "thumbnails": True}, **more}
    with collector() as kept:
        traces = {"endpoint": kept.url, "headers": {"authorization": "env:AUTH"}}
        more |= {"environ": environ, "tenants": tenants, "traces": traces}
        async with start_harness(region, **more) as harness:
            harness.http.headers["authorization"] = f"Bearer {_CUSTOMER_KEY}"
            yield harness
    clean(kept.text)
    assert all(headers["authorization"] == environ["AUTH"] for headers in kept.headers)


async def _everything_shown(harness: Harness, answer: httpx.Response) -> str:
    """Everything that a client and an operator read after *answer*, but for its pictures."""
    headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    metrics = await harness.http.get("/metrics")
    body = "" if answer.status_code == 200 else answer.text
    pages = [await _dashboard(harness, path) for path in ("", "/snapshot", "/config")]
    assert "acme" in pages[1]
    return "\n".join([headers, body, metrics.text, *pages])


async def _dashboard(harness: Harness, path: str) -> str:
    seen = await harness.http.get(
        f"/dashboard{path}", headers={"authorization": f"Bearer {_TOKEN}", "connection": "close"}
    )
    assert seen.status_code == 200
    return f"{seen.headers}\n{seen.text}"


_ENDS = [
    pytest.param(Fault("query", Answer(500), count=1), 200, id="well"),
    pytest.param(Fault("submit", End("FAILED")), 500, id="failed"),
    pytest.param(Fault("submit", End("UNKNOWN")), 500, id="unknown"),
    pytest.param(Fault("submit", Answer(400, "DataInspectionFailed")), 400, id="content"),
    pytest.param(
        Fault("submit", Answer(401, "InvalidApiKey", f"{_UPSTREAM_KEY} is invalid")),
        503,
        id="key-refused-and-echoed",
    ),
    pytest.param(
        Fault("submit", Answer(403, "AccessDenied", body=f"<html>{_UPSTREAM_KEY}</html>")),
        503,
        id="key-echoed-in-html",
    ),
    pytest.param(Fault("submit", Drop(after=True), count=1), 200, id="dropped"),
    pytest.param(Fault("query", Forget(), count=1), 200, id="forgotten-once"),
    pytest.param(Fault("download", Cut(20)), 503, id="download-cut"),
    pytest.param(Fault("download", Answer(403, "AccessDenied")), 503, id="download-refused"),
    pytest.param(Fault("submit", End(seconds=30)), 503, id="still-running"),
]


@pytest.mark.parametrize(("fault", "status"), _ENDS)
async def test_ends_of_generations(log: io.StringIO, fault: Fault, status: int) -> None:
    """The same of a prompt alone."""
    async with _canaries(fault) as harness:
        headers = _SOON if status == 503 else {}
        fields = {"prompt": _PROMPT, "style": "canary style"}
        answer = await harness.http.post("/v1/images/generations", json=fields, headers=headers)

        assert answer.status_code == status
        clean(await _everything_shown(harness, answer))
    assert "gateway.request" in clean(log.getvalue())


@pytest.mark.parametrize(("fault", "status"), _ENDS)
async def test_ends(log: io.StringIO, fault: Fault, status: int) -> None:
    """However an edit ends: answer, headers, metrics, spans and log hold nothing secret."""
    async with _canaries(fault) as harness:
        answer = await harness.edit(_PROMPT, headers=_SOON if status == 503 else {})

        assert answer.status_code == status
        clean(await _everything_shown(harness, answer))
    log_text = clean(log.getvalue())
    assert "gateway.request" in log_text
    assert "HTTP Request: POST http" in log_text  # httpx talks, and what it says is clean


async def test_an_answer_that_breaks_off(log: io.StringIO) -> None:
    """An answer that breaks off with its picture leaves no secret in metrics and log."""
    async with _canaries(Fault("download", Cut(100))) as harness:
        with pytest.raises(httpx.RemoteProtocolError):
            await harness.edit(_PROMPT, headers=_SOON)

        clean((await harness.http.get("/metrics")).text)
    assert "gateway.request" in clean(log.getvalue())


async def test_refused_at_the_door(log: io.StringIO) -> None:
    """Wrong keys, secrets in paths and queries, and bad fields are answered without an echo."""
    async with _canaries() as harness:
        answers = [
            await harness.edit(_PROMPT, headers={"authorization": f"Bearer {_WRONG_KEY}"}),
            await harness.edit(_PROMPT, headers={"api-key": _WRONG_KEY}),
            await harness.http.get(f"/v1/images/edits/edit_1?key={_CUSTOMER_KEY}"),
            await harness.edit(_PROMPT * 100),
            await harness.edit(_PROMPT, n="eleven"),
            await harness.edit(_PROMPT, picture=b"canary, but no picture"),
            await harness.http.post(
                "/v1/images/edits", content=b"canary", headers={"content-type": "multipart/x"}
            ),
        ]

        assert [answer.status_code for answer in answers] == [401, 401, 404, 400, 400, 400, 400]
        for answer in answers:
            clean(await _everything_shown(harness, answer))
    assert "gateway.request" in clean(log.getvalue())


class _Buggy(httpx.AsyncBaseTransport):
    """Fails as no transport should, with secrets in its words."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        raise RuntimeError(f"{request.headers} {request.url} {await request.aread()!r}")


@pytest.mark.parametrize("purpose", list(Purpose))
async def test_bugs(log: io.StringIO, purpose: Purpose) -> None:
    """A bug tells its place, and nothing of what it held in hand."""

    def transports(requested: Purpose) -> httpx.AsyncBaseTransport:
        return _Buggy() if requested is purpose else direct(requested)

    waits = purpose is Purpose.SUBMIT_AND_WAIT
    model = "qwen-image-edit-plus" if waits else "wan2.5-i2i-preview"
    async with _canaries(transports=transports) as harness:
        answer = await harness.edit(_PROMPT, headers=_SOON, model=model)

        assert answer.status_code >= 500
        clean(await _everything_shown(harness, answer))
    clean(log.getvalue())


def test_bugs_of_an_edit(log: io.StringIO) -> None:
    """A bug behind the clients' backs is logged with its places, whatever its words hold."""
    try:
        _fail_twice()
    except BaseExceptionGroup as several:
        _log_bug(several)

    log_text = clean(log.getvalue())
    assert "_fail_twice" in log_text
    assert "KeyError" in log_text
    assert "ValueError" in log_text


def _fail_twice() -> None:
    try:
        dict[str, str]().pop(_PROMPT)
    except KeyError as error:
        raise BaseExceptionGroup(_PROMPT, [ValueError(_PROMPT)]) from error


async def test_the_canaries_arrive() -> None:
    """What is looked for above does travel: else its absence would prove nothing."""
    async with _canaries() as harness:
        answer = await harness.edit(_PROMPT, response_format="url")

        (task,) = (await harness.books())["tasks"]
        assert task["prompt"] == _PROMPT
        assert "Signature=" in answer.json()["data"][0]["url"]
        assert pictures_of(await harness.edit(_PROMPT))


async def test_the_dashboards_form(log: io.StringIO) -> None:
    """A token that was typed is nowhere to be read, whether it was right or wrong."""
    async with _canaries() as harness:
        for token in (_TOKEN, _WRONG_KEY):
            answer = await harness.http.post("/dashboard", data={"token": token})
            clean(f"{answer.headers}\n{answer.text}")
    clean(log.getvalue())


def _config() -> Config:
    tenants = {"acme": {"region": "beijing", "keys": [hashed(_CUSTOMER_KEY)]}}
    shown = {"on": True, "token": "env:TOKEN"}
    values = tables({"beijing": "http://127.0.0.1:1"}, tenants=tenants, dashboard=shown)
    return build_config("test", values, {"KEY": _UPSTREAM_KEY, "TOKEN": _TOKEN})


def test_repr() -> None:
    """A config shows no key, neither as a whole nor in any of its parts."""
    config = _config()

    clean(f"{config!r} {config!s} {config.upstreams!r} {config.tenants!r}")


def test_traceback() -> None:
    """A traceback through the config, with its arguments shown, holds no key."""
    with pytest.raises(TypeError) as caught:
        build_gateway(_config(), clock=SystemClock(), transports=7)()  # type: ignore[arg-type, operator]  # the bug

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    clean("".join(shown.format()))
