"""One fault upstream per row: what the client is told, and what the region booked."""

from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from gateway.sandbox import Answer, Cut, Drop, End, Fault, Forget, Hang, Slow
from gateway.upstream.clients import Purpose, Transports
from tests.harness import (
    PLAIN,
    Harness,
    direct,
    origin,
    origin_of,
    photo,
    pictures_of,
    start_harness,
)

pytestmark = pytest.mark.anyio

_SOON = {"x-stainless-read-timeout": "10"}


@dataclass(frozen=True)
class _ExpectedError:
    """What a client sees of a bad end; *retried*: by the SDK, unasked."""

    status: int
    type: str
    code: str
    retried: bool
    param: str | None = None


def _invalid(param: str | None = None) -> _ExpectedError:
    return _ExpectedError(400, "invalid_request_error", "invalid_value", False, param)


_IMAGE = _ExpectedError(400, "image_generation_user_error", "invalid_image_file", False, "image")
_CONTENT = _ExpectedError(400, "image_generation_user_error", "moderation_blocked", False)
_OPERATOR = _ExpectedError(503, "server_error", "upstream_unavailable", False)
_FAILED = _ExpectedError(500, "server_error", "upstream_failed", True)
_FINAL = replace(_FAILED, retried=False)


def _error_of(answer: httpx.Response) -> _ExpectedError:
    error = answer.json()["error"]
    retried = answer.headers["x-should-retry"] == "true"
    return _ExpectedError(answer.status_code, error["type"], error["code"], retried, error["param"])


async def _money(harness: Harness) -> tuple[int, int]:
    """Tasks made, images billed."""
    books = await harness.books()
    return books["tasks_made"], books["images_billed"]


_SUBMIT_4XX = [
    (400, "DataInspectionFailed", "Input data may contain inappropriate content.", _CONTENT),
    (400, "IPInfringementSuspect", "Input data is suspected of IP infringement.", _CONTENT),
    (400, "InvalidParameter", "the size is not match the allowed size", _invalid("size")),
    (400, "InvalidParameter", "num_images_per_prompt must be 1 to 4", _invalid("n")),
    (400, "InvalidParameter", "something else", _invalid()),
    (400, "InvalidParameter.DataInspection", "Unable to download the media.", _IMAGE),
    (400, "InvalidParameter", "image format error", _IMAGE),
    (400, "InvalidURL", "The provided URL does not appear to be valid.", _IMAGE),
    (
        400,
        "BadRequest.TooLarge",
        "Exceeded limit on max bytes to request body",
        _ExpectedError(413, "invalid_request_error", "request_too_large", False, "image"),
    ),
    (400, "Arrearage", "Access denied, your account is in arrears.", _OPERATOR),
    (401, "InvalidApiKey", "Invalid API-key provided.", _OPERATOR),
    (403, "AccessDenied", "Access denied.", _OPERATOR),
    (403, "AllocationQuota.FreeTierOnly", "The free tier is exhausted.", _OPERATOR),
    (404, "ModelNotFound", "Model not exist.", _OPERATOR),
    (400, "Never.Documented", "?", _FINAL),
]


@pytest.mark.parametrize(
    ("status", "code", "message", "end"),
    [pytest.param(*row, id=f"{row[1]}-{index}") for index, row in enumerate(_SUBMIT_4XX)],
)
async def test_refused_at_submit(status: int, code: str, message: str, end: _ExpectedError) -> None:
    """A 4xx at submit has its own answer, makes no task and is not sent again."""
    async with start_harness(
        replace(PLAIN, faults=(Fault("submit", Answer(status, code, message)),))
    ) as harness:
        answer = await harness.edit()

        books = await harness.books()
    assert _error_of(answer) == end
    assert "retry-after" not in answer.headers
    assert (books["tasks_made"], books["images_billed"]) == (0, 0)
    assert books["counts"]["submit.received"] == 1


@pytest.mark.parametrize(
    ("code", "end"),
    [
        pytest.param("InternalError.Timeout", _FAILED, id="timeout"),
        pytest.param("InternalError", _FAILED, id="internal"),
        pytest.param("InternalError.Algo", _FAILED, id="algorithm"),
        pytest.param("Never.Documented", _FAILED, id="unknown-code"),
        pytest.param("DataInspectionFailed", _CONTENT, id="content"),
        pytest.param("IPInfringementSuspect", _CONTENT, id="infringement"),
        pytest.param("InvalidParameter.DataInspection", _IMAGE, id="image"),
        pytest.param("InvalidParameter", _invalid(), id="parameter"),
        pytest.param("Arrearage", _OPERATOR, id="arrears"),
    ],
)
async def test_failed_task(code: str, end: _ExpectedError) -> None:
    """A FAILED task is never a 200, and costs nothing."""
    async with start_harness(
        replace(PLAIN, faults=(Fault("submit", End("FAILED", code)),))
    ) as harness:
        answer = await harness.edit()

        assert _error_of(answer) == end
        assert answer.headers["x-wan-task-id"]
        assert answer.json()["error"]["edit_id"] == answer.headers["x-wan-edit-id"]
        assert await _money(harness) == (1, 0)


async def test_a_failed_task_is_made_again_by_the_retry() -> None:
    """After a FAILED for a reason of theirs, the retry brings a new task and gets its picture."""
    async with start_harness(
        replace(PLAIN, faults=(Fault("submit", End("FAILED"), count=1),))
    ) as harness:
        await harness.edit()

        answer = await harness.edit(headers={"x-stainless-retry-count": "1"})

        assert len(pictures_of(answer)) == 1
        assert await _money(harness) == (2, 1)


@pytest.mark.parametrize(
    ("status", "retried"),
    [
        pytest.param("CANCELED", True, id="canceled-cost-nothing"),
        pytest.param("UNKNOWN", False, id="unknown-may-be-billed"),
    ],
)
async def test_lost_task(status: Any, retried: bool) -> None:
    """A task that DashScope lost is told as such; only a cancelled one is asked for again."""
    async with start_harness(replace(PLAIN, faults=(Fault("submit", End(status)),))) as harness:
        answer = await harness.edit()

        assert _error_of(answer) == _ExpectedError(
            500, "server_error", "upstream_task_lost", retried
        )
        assert await _money(harness) == (1, 0)


async def test_partial_success() -> None:
    """Of three pictures one failed: 200 with the two good ones, in order, and a count."""
    faults = (Fault("submit", End(images=(1,), code="DataInspectionFailed")),)
    async with start_harness(replace(PLAIN, faults=faults)) as harness:
        answer = await harness.edit(n="3")

        assert len(pictures_of(answer)) == 2
        assert answer.headers["x-wan-images"] == "requested=3, delivered=2"
        assert await _money(harness) == (1, 2)


async def test_no_picture_of_several() -> None:
    """A SUCCEEDED without a single picture is no success."""
    faults = (Fault("submit", End(images=(0, 1), code="DataInspectionFailed")),)
    async with start_harness(replace(PLAIN, faults=faults)) as harness:
        answer = await harness.edit(n="2")

        assert _error_of(answer) == _CONTENT
        assert await _money(harness) == (1, 0)


_HARMLESS = [
    pytest.param((Fault("submit", Answer(429, "Throttling.RateQuota"), count=1),), id="submit-429"),
    pytest.param((Fault("query", Answer(500), count=2),), id="poll-500"),
    pytest.param((Fault("query", Answer(429, "Throttling"), count=3),), id="poll-429"),
    pytest.param((Fault("query", Answer(502, body="<html>bad</html>"), count=1),), id="poll-html"),
    pytest.param((Fault("query", Answer(401, "InvalidApiKey"), count=1),), id="poll-401"),
    pytest.param((Fault("query", Answer(200, body="{"), count=1),), id="poll-nonsense"),
    pytest.param((Fault("query", Drop(), count=2),), id="poll-dropped"),
    pytest.param((Fault("query", Hang(), count=1),), id="poll-hangs"),
    pytest.param((Fault("query", Forget(), count=1),), id="poll-unknown-once"),
    pytest.param((Fault("download", Cut(9_000), count=1),), id="download-cut"),
    pytest.param((Fault("download", Cut(9_000), count=2),), id="download-cut-twice"),
    pytest.param((Fault("download", Cut(9_000, reset=True), count=1),), id="download-reset"),
    pytest.param((Fault("download", Answer(403, "AccessDenied"), count=1),), id="download-403"),
    pytest.param((Fault("download", Answer(503), count=2),), id="download-503"),
    pytest.param((Fault("download", Drop(), count=1),), id="download-dropped"),
    pytest.param((Fault("download", Slow(2.0), count=1),), id="download-slow"),
    pytest.param(
        (Fault("download", Answer(200, body="<html>busy</html>"), count=1),), id="download-html"
    ),
]


@pytest.mark.parametrize("faults", _HARMLESS)
async def test_harmless(faults: tuple[Fault, ...]) -> None:
    """What passes is not seen by the client: one task, and the picture of what was sent."""
    async with start_harness(replace(PLAIN, faults=faults)) as harness:
        answer = await harness.edit("make it blue")

        (picture,) = pictures_of(answer)
        assert origin_of(picture) == origin("make it blue", photo())
        assert await _money(harness) == (1, 1)
        books = await harness.books()
        assert books["counts"][f"{faults[0].on}.faulted"] == (faults[0].count or 0)


async def test_a_cut_download_is_resumed() -> None:
    """The second try asks for the bytes that are missing, and no more."""
    faults = (Fault("download", Cut(20_000), count=1),)
    requested: list[str | None] = []
    async with start_harness(
        replace(PLAIN, faults=faults), transports=_watching(requested)
    ) as harness:
        answer = await harness.edit()

        assert pictures_of(answer)
        assert requested[0] is None
        assert requested[1] == "bytes=20000-"


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(Answer(403, "AccessDenied"), id="refused"),
        pytest.param(Answer(200, body="<html>no picture</html>"), id="wrong-content"),
        pytest.param(Cut(20), id="cut-before-its-form-is-told"),
    ],
)
async def test_no_download_in_time(action: Any) -> None:
    """A picture that cannot be had is promised to the retry, which gets it without a new task."""
    async with start_harness(replace(PLAIN, faults=(Fault("download", action),))) as harness:
        answer = await harness.edit(headers=_SOON)
        reported = _error_of(answer)
        await harness.set_faults()
        again = await harness.edit(headers={"x-stainless-retry-count": "1"})

        assert reported == _ExpectedError(503, "server_error", "result_unavailable", True)
        assert 0 < int(answer.headers["retry-after-ms"]) <= 60_000
        assert answer.json()["error"]["edit_id"] == again.headers["x-wan-edit-id"]
        assert origin_of(pictures_of(again)[0]) == origin("make it sepia", photo())
        assert await _money(harness) == (1, 1)


@pytest.mark.parametrize(
    ("action", "why"),
    [
        pytest.param(Answer(403, "AccessDenied"), "HTTP 403", id="403"),
        pytest.param(Answer(404, "NoSuchKey"), "HTTP 404", id="404"),
        pytest.param(Answer(200, body="<html>no picture</html>"), "not a PNG", id="a page"),
        pytest.param(Answer(200, body="GIF89a"), "not a PNG", id="another format"),
        pytest.param(Answer(200, body=""), "empty", id="empty"),
    ],
)
@pytest.mark.parametrize("output_format", ["png", "jpeg"])
async def test_never_to_be_had(action: Any, why: str, output_format: str) -> None:
    """What stays out of reach with fresh URLs is final to the client, who hears what to do."""
    async with start_harness(replace(PLAIN, faults=(Fault("download", action),))) as harness:
        answer = await harness.edit(output_format=output_format)

        metrics = (await harness.http.get("/metrics")).text
        assert _error_of(answer) == _ExpectedError(503, "server_error", "result_unavailable", False)
        assert why in answer.json()["error"]["message"]
        assert "/v1/images/edits/edit_" in answer.json()["error"]["message"]
        assert 'undelivered_tasks_total{reason="result_unavailable"} 1.0' in metrics
        assert await _money(harness) == (1, 1)


async def test_a_picture_that_always_breaks_off() -> None:
    """An answer that has begun breaks off where its picture does; the retry gets it whole."""
    async with start_harness(replace(PLAIN, faults=(Fault("download", Cut(100)),))) as harness:
        with pytest.raises(httpx.RemoteProtocolError):
            await harness.edit(headers=_SOON)
        await harness.set_faults()
        again = await harness.edit(headers={"x-stainless-retry-count": "1"})

        assert origin_of(pictures_of(again)[0]) == origin("make it sepia", photo())
        assert await _money(harness) == (1, 1)


async def test_throttled_beyond_patience() -> None:
    """An upstream that throttles past the patience is a 429 that says when to come again."""
    faults = (Fault("submit", Answer(429, "Throttling.RateQuota")),)
    async with start_harness(replace(PLAIN, faults=faults)) as harness:
        answer = await harness.edit(headers=_SOON)

        assert _error_of(answer) == _ExpectedError(
            429, "rate_limit_error", "rate_limit_exceeded", True
        )
        assert 0 < int(answer.headers["retry-after-ms"]) <= 60_000
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert await _money(harness) == (0, 0)


async def test_still_running_at_the_deadline() -> None:
    """At the deadline the edit goes on; it can be had by its id, and only by its tenant."""
    faults = (Fault("submit", End(seconds=20)),)
    async with start_harness(replace(PLAIN, faults=faults)) as harness:
        answer = await harness.edit(headers=_SOON)
        address = f"/v1/images/edits/{answer.headers['x-wan-edit-id']}"
        meanwhile = await harness.http.get(address)
        await harness.until("SUCCEEDED")
        later = await _ended(harness, address)

        assert _error_of(answer) == _ExpectedError(503, "server_error", "still_running", True)
        assert 0 < int(answer.headers["retry-after-ms"]) <= 60_000
        assert meanwhile.status_code == 202
        assert set(meanwhile.json()) == {"id", "object", "status", "created"}
        assert origin_of(pictures_of(later)[0]) == origin("make it sepia", photo())
        assert await _money(harness) == (1, 1)


async def _ended(harness: Harness, address: str) -> httpx.Response:
    for _ in range(100):
        answer = await harness.http.get(address)
        if answer.status_code != 202:
            return answer
    raise AssertionError("it never ended")


async def test_line_full() -> None:
    """An edit that finds the line full is refused at once, and nothing was submitted."""
    tenants = {"acme": {"region": "beijing", "open": True, "max_waiting": 0}}
    async with start_harness(tenants=tenants) as harness:
        answer = await harness.edit()

        assert _error_of(answer) == _ExpectedError(
            429, "rate_limit_error", "rate_limit_exceeded", True
        )
        assert int(answer.headers["retry-after-ms"]) > 0
        assert await _money(harness) == (0, 0)


@dataclass
class _Watching(httpx.AsyncBaseTransport):
    """Passes on, and notes which ranges were asked for."""

    within: httpx.AsyncBaseTransport
    ranges: list[str | None]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.ranges.append(request.headers.get("range"))
        return await self.within.handle_async_request(request)

    async def aclose(self) -> None:
        await self.within.aclose()


def _watching(query: list[str | None]) -> Transports:
    def transports(purpose: Purpose) -> httpx.AsyncBaseTransport:
        within = direct(purpose)
        return _Watching(within, query) if purpose is Purpose.DOWNLOAD else within

    return transports
