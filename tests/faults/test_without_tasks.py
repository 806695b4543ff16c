"""A model that answers at once, whole: the right picture, paid once, and what is lost told so."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest

from gateway.sandbox import Answer, Constant, Drop, End, Fault, Hang
from gateway.sandbox.faults import Cut
from gateway.upstream.calls import CallLimits
from gateway.upstream.dashscope import DashScopeApi
from tests.harness import (
    PLAIN,
    Harness,
    eventually,
    origin,
    origin_of,
    photo,
    pictures_of,
    start_harness,
)

pytestmark = pytest.mark.anyio

QWEN = "qwen-image-edit-plus"
RETRY = {"x-stainless-retry-count": "1"}


async def edit(harness: Harness, prompt: str = "make it sepia", **more: Any) -> httpx.Response:
    return await harness.edit(prompt, **{"model": QWEN, "size": "1024x1024", **more})


def start_harness_without_tasks(*faults: Fault, seconds: float = 8.0, **more: Any) -> Any:
    return start_harness(replace(PLAIN, latency=Constant(seconds), faults=faults), **more)


async def test_an_edit() -> None:
    """One call to DashScope, one picture, and the headers of every edit."""
    async with start_harness_without_tasks() as harness:
        answer = await edit(harness)

        books = await harness.books()
        assert origin_of(pictures_of(answer)[0]) == origin("make it sepia", photo())
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)
        assert {name: n for name, n in books["counts"].items() if n} == {
            "submit.received": 1,
            "download.received": 1,
        }
        assert answer.headers["x-wan-task-id"].startswith("request-")
        assert "upstream_running;dur=8" in answer.headers["server-timing"]


async def test_ten_pictures() -> None:
    """Six and four, side by side; what one of them lacks is told."""
    fault = Fault("submit", End(images=(1,)), count=1)
    async with start_harness_without_tasks(fault) as harness:
        answer = await edit(harness, n="10")

        assert len(pictures_of(answer)) == 9
        assert answer.headers["x-wan-images"] == "requested=10, delivered=9"
        assert (await harness.books())["images_billed"] == 9


async def test_a_picture_too_big_to_go_inline() -> None:
    """It is uploaded first, as for the others."""
    async with start_harness_without_tasks(server={"port": 0, "inline_bytes": 1000}) as harness:
        answer = await edit(harness)

        (row,) = (await harness.books())["tasks"]
        assert pictures_of(answer)
        assert row["inputs"] == ["oss"]


async def test_a_stream() -> None:
    """The same events."""
    async with start_harness_without_tasks() as harness:
        answer = await edit(harness, stream="true")

        assert "event: image_edit.completed" in answer.text


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        pytest.param(Drop(after=True), 1, id="dropped-with-the-answer"),
        pytest.param(Drop(), 0, id="dropped-before-the-work"),
        pytest.param(Cut(60), 1, id="cut-in-the-answer"),
        pytest.param(Answer(500, "InternalError", after=True), 1, id="500-though-made"),
        pytest.param(Answer(504, after=True), 1, id="504-though-made"),
        pytest.param(End("FAILED", "InternalError.Algo"), 1, id="failed-inside"),
        pytest.param(Hang(), 0, id="silent"),
    ],
)
async def test_an_answer_that_is_lost(
    action: Any, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell what became of it, so the end is final and nothing is sent again."""
    hasty = partial(DashScopeApi, limits=CallLimits(submit_and_wait=30.0))
    monkeypatch.setattr("gateway.app.DashScopeApi", hasty)
    async with start_harness_without_tasks(Fault("submit", action, count=1)) as harness:
        lost = await edit(harness)
        again = [await edit(harness), await edit(harness, headers=RETRY)]

        books = await harness.books()
        for answer in (lost, *again):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "submit_uncertain")
            assert answer.headers["x-should-retry"] == "false"
            assert "retry-after" not in answer.headers
        assert books["tasks_made"] == expected
        assert books["counts"]["submit.received"] == 1


async def test_refused() -> None:
    """A clear refusal made nothing: the client hears why, and may come again at once."""
    fault = Fault("submit", End("FAILED", "DataInspectionFailed"), count=1)
    async with start_harness_without_tasks(fault) as harness:
        refused, answer = await edit(harness), await edit(harness)

        assert refused.json()["error"]["code"] == "moderation_blocked"
        assert pictures_of(answer)
        assert (await harness.books())["images_billed"] == 1


async def test_throttled() -> None:
    """It waits its turn."""
    fault = Fault("submit", Answer(429, "Throttling.RateQuota"), count=2)
    async with start_harness_without_tasks(fault) as harness:
        answer = await edit(harness)

        assert pictures_of(answer)
        assert (await harness.books())["tasks_made"] == 1


async def test_a_customer_who_leaves_and_comes_back() -> None:
    """The call to DashScope goes on without it."""
    async with start_harness_without_tasks() as harness, asyncio.TaskGroup() as group:
        first = group.create_task(edit(harness))
        await harness.until("RUNNING")
        first.cancel()
        await asyncio.sleep(1)
        answer = await edit(harness, headers=RETRY)

        assert pictures_of(answer)
        assert (await harness.books())["tasks_made"] == 1


async def test_the_drain_waits_for_an_answer_that_nobody_waits_for() -> None:
    """To end sooner would be to lose what is being paid for."""
    async with start_harness_without_tasks() as harness, asyncio.TaskGroup() as group:
        first = group.create_task(edit(harness))
        await harness.until("RUNNING")
        first.cancel()
        harness.server.handle_exit(15, None)
        await asyncio.sleep(2)
        waits = not harness.server.should_exit

        async def over() -> bool:
            return bool(harness.server.should_exit)

        await eventually(over)
        assert waits
        assert (await harness.books())["images_billed"] == 1


async def test_sizes() -> None:
    """Sides of 512 to 2048 are made as asked for; others are made by scaling, exactly."""
    async with start_harness_without_tasks() as harness:
        plain = await edit(harness, size="512x2048")
        scaled = await edit(harness, size="256x256")
        rows = (await harness.books())["tasks"]

        assert (plain.json()["size"], scaled.json()["size"]) == ("512x2048", "256x256")
        assert [row["size"] for row in rows] == [[512, 2048], [512, 512]]
        assert "x-wan-adjusted" not in plain.headers
        assert scaled.headers["x-wan-adjusted"] == "size:512x512->256x256"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        pytest.param({"prompt": "画" * 801}, "prompt", id="prompt"),
        pytest.param({"negative_prompt": "x" * 501}, "negative_prompt", id="negative"),
    ],
)
async def test_its_own_limits(fields: dict[str, str], param: str) -> None:
    """What DashScope would cut in silence is refused."""
    async with start_harness_without_tasks() as harness:
        refused = await edit(harness, **fields)

        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
        assert (await harness.books())["tasks_made"] == 0


async def test_it_makes_nothing_of_a_prompt_alone() -> None:
    """At the other path the client hears where it is offered."""
    async with start_harness_without_tasks() as harness:
        fields = {"model": QWEN, "prompt": "a hat"}
        refused = await harness.http.post("/v1/images/generations", json=fields)

        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
        assert "/v1/images/edits" in refused.json()["error"]["message"]
