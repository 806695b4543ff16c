import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from gateway.domain.edit import Picture, Size
from gateway.domain.errors import (
    GatewayError,
    InvalidImage,
    SubmitUncertain,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.task import TaskStatus
from gateway.upstream.calls import CallLimits
from gateway.upstream.clients import Clients
from gateway.upstream.dashscope import DashScopeApi
from tests.models import TABLE
from tests.upstream.wire import (
    EDIT,
    PART,
    PICTURES,
    PNG,
    HandClock,
    RecordedCalls,
    intent,
    upstream,
)

pytestmark = pytest.mark.anyio

_RUNNING = {"request_id": "r-1", "output": {"task_id": "t-1", "task_status": "RUNNING"}}
Handler = Callable[[httpx.Request], httpx.Response]


class ScriptedDashScope:
    """An API over a scripted upstream, with what it saw and counted."""

    def __init__(self, *script: httpx.Response | Exception, clock: HandClock | None = None) -> None:
        self.script = list(script)
        self.seen: list[httpx.Request] = []
        self.tally = RecordedCalls()
        self.clients = Clients(lambda _: httpx.MockTransport(self._handle))
        self.api = DashScopeApi(self.clients, clock or HandClock(), self.tally, TABLE)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


async def test_submit_request() -> None:
    """A submit goes to the image2image path, async, with key and exact length, once."""
    scripted = ScriptedDashScope(
        httpx.Response(200, json={"output": {"task_id": "t-1"}, "request_id": "r-1"})
    )

    accepted = await scripted.api.submit(upstream(), EDIT, PART, PICTURES, intent())

    (request,) = scripted.seen
    assert (accepted.task_id, accepted.request_id) == ("t-1", "r-1")
    assert request.method == "POST"
    assert (
        str(request.url) == "http://upstream.test/api/v1/services/aigc/image2image/image-synthesis"
    )
    assert request.headers["x-dashscope-async"] == "enable"
    assert request.headers["authorization"] == "Bearer sk-canary-0123456789"
    assert request.headers["content-type"] == "application/json"
    assert int(request.headers["content-length"]) == len(request.content)
    assert "transfer-encoding" not in request.headers
    assert json.loads(request.content)["input"]["prompt"] == "add a hat"
    assert scripted.tally.calls == [("beijing", "submit", "200")]


async def test_broken_submit_is_uncertain_and_counted() -> None:
    """What breaks after the body was asked for is uncertain, and counts as an error."""
    scripted = ScriptedDashScope(httpx.ReadTimeout(""))

    with pytest.raises(SubmitUncertain):
        await scripted.api.submit(upstream(), EDIT, PART, PICTURES, intent())

    assert scripted.tally.calls == [("beijing", "submit", "error")]


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (Picture(url="https://example.com/a.png"), InvalidImage),
        (Picture(url="oss://bucket/a.png"), UpstreamUnavailable),
        (Picture(content=PNG, media_type="image/png"), UpstreamUnavailable),
    ],
)
async def test_an_url_error(picture: Picture, kind: type[GatewayError]) -> None:
    """DashScope says it of a wrong endpoint or model; with a client's URL it is not the key's."""
    body = {
        "code": "InvalidParameter",
        "message": "url error, please check url！",
        "request_id": "r",
    }
    scripted = ScriptedDashScope(httpx.Response(400, json=body))

    with pytest.raises(kind) as refused:
        await scripted.api.submit(upstream(), EDIT, PART, (picture,), intent())

    assert refused.value.upstream_code == "InvalidParameter"


async def test_what_dashscope_says_of_a_key() -> None:
    """Its own sentence is for the operator; the client is told another."""
    body = {
        "code": "Arrearage",
        "message": "Access denied, your sk-abc is overdue",
        "request_id": "r",
    }
    scripted = ScriptedDashScope(httpx.Response(400, json=body))

    with pytest.raises(UpstreamUnavailable) as refused:
        await scripted.api.submit(upstream(), EDIT, PART, PICTURES, intent())

    assert refused.value.upstream_message == "Access denied, your [key] is overdue."
    assert "overdue" not in refused.value.message


async def test_a_body_that_cannot_be_made_is_no_submit() -> None:
    """A fault before the first call is itself: nothing was sent, nothing is uncertain."""
    scripted = ScriptedDashScope()

    with pytest.raises(AttributeError):
        await scripted.api.submit(upstream(), Size(1, 1), PART, PICTURES, intent())  # type: ignore[arg-type]  # the fault

    assert scripted.tally.calls == []


async def test_fetch() -> None:
    """A fetch asks for one task by its id, quoted, and reads it."""
    output = {"task_id": "t-1/../x", "task_status": "RUNNING"}
    scripted = ScriptedDashScope(httpx.Response(200, json={"output": output}))

    task = await scripted.api.fetch(upstream(), "t-1/../x")

    assert task.status is TaskStatus.RUNNING
    assert scripted.seen[0].url.raw_path == b"/api/v1/tasks/t-1%2F..%2Fx"
    assert scripted.tally.calls == [("beijing", "poll", "200")]


async def test_an_answer_about_another_task() -> None:
    """What tells of another task than was asked for tells nothing of this one."""
    scripted = ScriptedDashScope(httpx.Response(200, json=_RUNNING))

    with pytest.raises(UpstreamFailed, match="another task"):
        await scripted.api.fetch(upstream(), "t-2")


async def test_request_id_of_the_header_is_kept() -> None:
    """A body without a request id borrows the header's."""
    body = {"output": {"task_id": "t-1", "task_status": "PENDING"}}
    scripted = ScriptedDashScope(httpx.Response(200, json=body, headers={"x-request-id": "r-head"}))

    assert (await scripted.api.fetch(upstream(), "t-1")).request_id == "r-head"


async def test_tasks() -> None:
    """A list call carries window, page and status, and reads the rows."""
    rows = [{"task_id": "t-1", "status": "SUCCEEDED", "gmt_create": 1745568428109}]
    scripted = ScriptedDashScope(
        httpx.Response(200, json={"total": 1, "total_page": 1, "data": rows})
    )

    page = await scripted.api.tasks(
        upstream(), since=0, until=60, status=TaskStatus.RUNNING, page=2, page_size=50
    )

    assert [row.task_id for row in page.rows] == ["t-1"]
    assert dict(scripted.seen[0].url.params) == {
        "start_time": "19700101080000",
        "end_time": "19700101080100",
        "page_no": "2",
        "page_size": "50",
        "status": "RUNNING",
    }
    assert scripted.tally.calls == [("beijing", "list", "200")]


@pytest.mark.parametrize(
    ("status", "body", "cancelled"),
    [
        pytest.param(200, {"request_id": "r-1"}, True, id="was-pending"),
        pytest.param(400, {"code": "UnsupportedOperation"}, False, id="runs-or-ended"),
    ],
)
async def test_cancel(status: int, body: dict[str, str], *, cancelled: bool) -> None:
    """Only a PENDING task can be cancelled; the answer says whether it was one."""
    scripted = ScriptedDashScope(httpx.Response(status, json=body))

    assert await scripted.api.cancel(upstream(), "t-1") is cancelled

    assert scripted.seen[0].url.path == "/api/v1/tasks/t-1/cancel"
    assert scripted.seen[0].content == b""
    assert scripted.tally.calls == [("beijing", "cancel", str(status))]


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, text="<html>Log in</html>"), httpx.Response(200, json={"ok": True})],
)
async def test_cancel_that_somebody_else_answers(answer: httpx.Response) -> None:
    """Only DashScope's own answer says that a task costs nothing any more."""
    scripted = ScriptedDashScope(answer)

    with pytest.raises(UpstreamFailed):
        await scripted.api.cancel(upstream(), "t-1")


async def test_cancel_that_was_refused_otherwise() -> None:
    """A cancel that a bad key stops says nothing about the task."""
    scripted = ScriptedDashScope(httpx.Response(401, json={"code": "InvalidApiKey"}))

    with pytest.raises(UpstreamUnavailable):
        await scripted.api.cancel(upstream(), "t-1")


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        pytest.param(
            httpx.Response(401, json={"code": "InvalidApiKey"}),
            UpstreamUnavailable,
            "InvalidApiKey",
            id="key",
        ),
        pytest.param(
            httpx.Response(429, json={"code": "Throttling.RateQuota"}),
            Throttled,
            "Throttling.RateQuota",
            id="throttled",
        ),
        pytest.param(httpx.Response(429, text="slow"), Throttled, "HTTP 429", id="429-page"),
        pytest.param(httpx.Response(502, text="<html>"), UpstreamFailed, "HTTP 502", id="page"),
        pytest.param(
            httpx.Response(200, json={"code": "InternalError"}),
            UpstreamFailed,
            "InternalError",
            id="code-with-200",
        ),
        pytest.param(httpx.Response(200, text="hm"), UpstreamFailed, None, id="200-no-json"),
        pytest.param(httpx.Response(302), UpstreamUnavailable, "HTTP 302", id="redirect"),
        pytest.param(httpx.ReadTimeout("x"), UpstreamUnreachable, "ReadTimeout", id="read-timeout"),
        pytest.param(httpx.ConnectError("x"), UpstreamUnreachable, "ConnectError", id="no-route"),
        pytest.param(TimeoutError(), UpstreamUnreachable, "TimeoutError", id="patience-over"),
    ],
)
async def test_fetch_faults(
    answer: httpx.Response | Exception, error: type[GatewayError], code: str | None
) -> None:
    """Whatever comes in place of a task is a refusal that names upstream's code."""
    scripted = ScriptedDashScope(answer)

    with pytest.raises(error) as caught:
        await scripted.api.fetch(upstream(), "t-1")

    assert type(caught.value) is error
    assert caught.value.upstream_code == code


async def test_call_timeout() -> None:
    """An answer that trickles for ever is given up as a whole."""

    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(30)
        raise AssertionError

    tally = RecordedCalls()
    async with Clients(lambda _: httpx.MockTransport(never)) as clients:
        api = DashScopeApi(clients, HandClock(), tally, TABLE, limits=CallLimits(call=0.01))
        with pytest.raises(UpstreamUnreachable):
            await api.fetch(upstream(), "t-1")

    assert tally.calls == [("beijing", "poll", "error")]


@pytest.mark.parametrize("status", [200, 403, 500])
async def test_any_answer_is_heard(status: int) -> None:
    """A refusal tells upstream's time as well; another region has not answered by that."""
    scripted = ScriptedDashScope(httpx.Response(status, json=_RUNNING))
    before = scripted.api.clock_known("beijing")

    with suppress(GatewayError):
        await scripted.api.fetch(upstream(), "t-1")

    assert (before, scripted.api.clock_known("beijing"), scripted.api.clock_known("singapore")) == (
        False,
        True,
        False,
    )


async def test_no_answer_is_not_heard() -> None:
    """A connection that breaks tells nothing."""

    def never(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut")

    async with Clients(lambda _: httpx.MockTransport(never)) as clients:
        api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE)
        with pytest.raises(UpstreamUnreachable):
            await api.fetch(upstream(), "t-1")

    assert not api.clock_known("beijing")


async def test_clock_offset_is_of_the_region() -> None:
    """Upstream's Date tells how far its clock is; another region's stays unknown."""
    clock = HandClock()
    date = formatdate(clock.epoch() + 30, usegmt=True)
    scripted = ScriptedDashScope(
        httpx.Response(200, json=_RUNNING, headers={"date": date}), clock=clock
    )

    await scripted.api.fetch(upstream(), "t-1")

    assert scripted.api.clock_offset("beijing") == pytest.approx(30.0)
    assert scripted.api.clock_offset("singapore") == 0


async def test_download() -> None:
    """A picture is brought home through the same door."""
    scripted = ScriptedDashScope(httpx.Response(200, content=PNG))

    assert await scripted.api.download(upstream(), "https://a.aliyuncs.com/x.png") == PNG


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda api: api.fetch(upstream(), "t-1"), id="fetch"),
        pytest.param(
            lambda api: api.submit(upstream(), EDIT, PART, PICTURES, intent()), id="submit"
        ),
        pytest.param(
            lambda api: api.download(upstream(), "https://a.aliyuncs.com/x?Signature=canary-s"),
            id="download",
        ),
    ],
)
async def test_no_secret_is_logged_or_raised(
    call: Callable[[DashScopeApi], Coroutine[Any, Any, object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Key, prompt and signature are in no error and, with httpx quiet, in no log line."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    scripted = ScriptedDashScope(*[httpx.Response(500, json={"code": "InternalError"})] * 5)

    with pytest.raises(GatewayError) as caught:
        await call(scripted.api)

    shown = f"{caught.value!r} {caught.value.upstream_code} {caplog.text}"
    assert "canary" not in shown
    assert "add a hat" not in shown


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("request_id", ["r-1", ""], ids=["DashScope's", "somebody's"])
async def test_a_refusal_that_quotes_the_prompt(status: int, request_id: str) -> None:
    """No error of a submit holds the client's prompt, whoever quoted it."""
    body = {"code": "Refused", "message": f"Bad: {EDIT.prompt}", "request_id": request_id}
    scripted = ScriptedDashScope(httpx.Response(status, json=body))

    with pytest.raises(GatewayError) as caught:
        await scripted.api.submit(upstream(), EDIT, PART, PICTURES, intent())

    error = getattr(caught.value, "refusal", None) or caught.value
    assert EDIT.prompt not in f"{error} {error.message} {error.upstream_message}"
