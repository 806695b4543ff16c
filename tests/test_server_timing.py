"""Every answer tells where its time went, and nothing of it is missing."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.sandbox import Answer, Constant, End, Fault
from tests.fast_time import EXACT_FAST_TIME
from tests.harness import PLAIN, Harness, hashed, photo, start_harness

pytestmark = pytest.mark.anyio

_MILLISECONDS = 5.0


@pytest.fixture
def anyio_backend() -> Any:
    return EXACT_FAST_TIME


def timed(answer: httpx.Response) -> dict[str, float]:
    """Milliseconds by phase, which are those that the answer took."""
    headers = [one.split(";dur=") for one in answer.headers["server-timing"].split(", ")]
    phases = {phase: float(spent) for phase, spent in headers}
    whole = float(answer.headers["openai-processing-ms"])
    assert abs(sum(phases.values()) - whole) <= _MILLISECONDS, answer.headers
    return phases


_SOON = {"x-stainless-read-timeout": "10"}
_STILL = Fault("submit", End(seconds=60))


@pytest.mark.parametrize(
    ("faults", "headers", "fields", "status", "most"),
    [
        pytest.param((), {}, {}, 200, "upstream_running", id="made"),
        pytest.param((), {}, {"n": "6"}, 200, "upstream_running", id="of-two-tasks"),
        pytest.param((), {"authorization": "Bearer x"}, {}, 401, "read", id="no-key"),
        pytest.param((), {}, {"n": "99"}, 400, "read", id="bad-field"),
        pytest.param((_STILL,), _SOON, {}, 503, "upstream_running", id="still-running"),
        pytest.param(
            (Fault("submit", Answer(400, "DataInspectionFailed")),), {}, {}, 400, "", id="refused"
        ),
        pytest.param(
            (Fault("submit", Answer(429, "Throttling.RateQuota")),),
            _SOON,
            {},
            429,
            "submit",
            id="throttled",
        ),
        pytest.param(
            (Fault("download", Answer(403, "AccessDenied")),),
            _SOON,
            {},
            503,
            "",
            id="not-downloaded",
        ),
        pytest.param((), {"prefer": "respond-async"}, {}, 202, "read", id="asynchronous"),
    ],
)
async def test_edits(
    faults: tuple[Fault, ...],
    headers: Mapping[str, str],
    fields: Mapping[str, Any],
    status: int,
    most: str,
    tmp_path: Path,
) -> None:
    """Made or refused, the phases of an edit add up to its whole time."""
    sandbox = replace(PLAIN, latency=Constant(8), faults=faults)
    async with start_harness(sandbox, state={"path": str(tmp_path / "gateway.db")}) as harness:
        answer = await harness.edit(headers=headers, **fields)

        assert answer.status_code == status
        phases = timed(answer)
        assert not most or max(phases, key=phases.__getitem__) == most


async def test_whatever_is_asked() -> None:
    """Pages, looks at an edit, unknown paths and wrong methods tell it too."""
    async with start_harness() as harness:
        result = await harness.edit()
        path = f"/v1/images/edits/{result.headers['x-wan-edit-id']}"
        answers = [
            await harness.http.get(path),
            await harness.http.head(path),
            await harness.http.delete(path),
            await harness.http.get("/v1/images/edits/edit_7"),
            await harness.http.get("/v1/models"),
            await harness.http.get("/v1/models/gpt-image-1"),
            await harness.http.get("/healthz"),
            await harness.http.get("/readyz"),
            await harness.http.get("/metrics"),
            await harness.http.get("/nowhere"),
            await harness.http.options("/v1/images/edits"),
            await harness.http.put("/v1/images/edits"),
            await harness.http.post("/v1/images/variations"),
            await harness.http.post("/v1/images/edits", content=b"x" * 70_000_000),
        ]

        statuses = [answer.status_code for answer in answers]
        assert statuses == [200, 200, 200, 404, 200, 200, 200, 200, 200, 404, 204, 405, 410, 413]
        for answer in answers:
            assert timed(answer)
        assert "download" in timed(answers[0])


async def _streamed(harness: Harness, **fields: str) -> tuple[httpx.Response, str]:
    files = {"image": ("a.png", photo(), "image/png")}
    data = {"prompt": "make it sepia", **fields}
    async with harness.http.stream("POST", "/v1/images/edits", data=data, files=files) as answer:
        return answer, (await answer.aread()).decode()


async def test_a_stream_whose_head_goes_first() -> None:
    """The head tells the time so far; a comment before the last event tells the whole."""
    async with start_harness(replace(PLAIN, latency=Constant(12))) as harness:
        answer, body = await _streamed(harness, stream="true")

    head = timed(answer)
    assert head["upstream_running"] > 1000
    (comment,) = (line for line in body.splitlines() if line.startswith(": server-timing: "))
    reported = comment.removeprefix(": server-timing: ")
    whole = sum(float(one.split(";dur=")[1]) for one in reported.split(", "))
    assert whole > max(12_000, sum(head.values()))


async def test_blanks_before_an_answer() -> None:
    """An answer kept awake by blanks tells the time up to its head."""
    tenant = {"region": "beijing", "keys": [hashed("wk-acme")], "keep_alive": "whitespace"}
    async with start_harness(
        replace(PLAIN, latency=Constant(12)), tenants={"acme": tenant}
    ) as harness:
        answer, body = await _streamed(harness)

    assert body.startswith("\n")
    assert timed(answer)["upstream_running"] > 1000


async def test_a_retry_counts_its_own_time() -> None:
    """Who joins an edit is told of the time since it came, not of that before."""
    async with start_harness(replace(PLAIN, latency=Constant(12))) as harness:
        first = await harness.edit(headers={"x-stainless-read-timeout": "6"})
        assert first.status_code == 503
        await asyncio.sleep(1)
        again = await harness.edit(headers={"x-stainless-retry-count": "1"})

    assert again.status_code == 200
    assert "submit" not in timed(again)
    assert max(timed(again), key=timed(again).__getitem__) == "upstream_running"
