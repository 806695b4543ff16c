"""Submits without a clear answer: never a task too many, never a picture swapped (P1, P5)."""

import asyncio
from dataclasses import replace

import pytest

from gateway.sandbox import Answer, Constant, Drop, Fault, Hang, Late
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


@pytest.mark.parametrize(
    ("action", "submits"),
    [
        pytest.param(Drop(after=True), 1, id="answer-dropped"),
        pytest.param(Drop(after=True, reset=True), 1, id="answer-reset"),
        pytest.param(Answer(504, "GatewayTimeout", after=True), 1, id="504-hides-a-task"),
        pytest.param(Answer(200, body="<html>", after=True), 1, id="200-of-nonsense-hides-a-task"),
        pytest.param(Answer(408, after=True), 1, id="408-hides-a-task"),
        pytest.param(Late(1.5), 1, id="task-appears-after-1.5-s"),
        pytest.param(Late(4.0), 1, id="task-appears-after-4-s"),
        pytest.param(Drop(), 2, id="dropped-before-the-task"),
        pytest.param(Drop(reset=True), 2, id="reset-before-the-task"),
        pytest.param(Answer(500), 2, id="500-made-none"),
        pytest.param(Answer(503, body="<html>busy</html>"), 2, id="503-of-a-balancer"),
    ],
)
async def test_one_task(action: Answer | Drop | Late, submits: int) -> None:
    """Whether a doubtful submit made a task is found out: one task, one picture, no error."""
    faults = (Fault("submit", action, count=1),)
    async with start_harness(replace(PLAIN, faults=faults)) as harness:
        answer = await harness.edit("make it blue")

        (picture,) = pictures_of(answer)
        books = await harness.books()
        assert origin_of(picture) == origin("make it blue", photo())
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)
        assert books["counts"]["submit.received"] == submits


@pytest.mark.slow
async def test_a_submit_that_hangs() -> None:
    """A submit without an answer for a minute made a task: it is found, not made again."""
    faults = (Fault("submit", Hang(after=True), count=1),)
    async with start_harness(replace(PLAIN, faults=faults)) as harness:
        answer = await harness.edit()

        books = await harness.books()
        assert pictures_of(answer)
        assert (books["tasks_made"], books["counts"]["submit.received"]) == (1, 1)


async def test_equal_prompts() -> None:
    """Two pictures under one prompt, both answers dropped: two tasks, and nobody's swapped."""
    faults = (Fault("submit", Drop(after=True), count=2),)
    async with start_harness(replace(PLAIN, faults=faults)) as harness:
        first, second = await asyncio.gather(
            harness.edit("make it blue", picture=photo(1)),
            harness.edit("make it blue", picture=photo(2)),
        )

        books = await harness.books()
        assert origin_of(pictures_of(first)[0]) == origin("make it blue", photo(1))
        assert origin_of(pictures_of(second)[0]) == origin("make it blue", photo(2))
        assert (books["tasks_made"], books["images_billed"]) == (2, 2)


async def test_strangers_on_the_account() -> None:
    """A task that somebody else made meanwhile on the same account is not taken for ours."""
    faults = (Fault("submit", Drop(), prompt="ours", count=1),)
    async with (
        start_harness(replace(PLAIN, faults=faults)) as harness,
        asyncio.TaskGroup() as group,
    ):
        ours = group.create_task(harness.edit("ours"))
        await _stranger(harness)
        answer = await ours

        books = await harness.books()
        assert origin_of(pictures_of(answer)[0]) == origin("ours", photo())
        assert sorted(row["prompt"] for row in books["tasks"]) == ["a stranger's", "ours"]


async def _stranger(harness: Harness) -> None:
    """Submit past the gateway, with the account's own key."""

    async def dropped() -> bool:
        return "submit.faulted" in (await harness.books())["counts"]

    await eventually(dropped)
    body = {
        "model": "wan2.5-i2i-preview",
        "input": {"prompt": "a stranger's", "images": ["https://example.com/a.png"]},
        "parameters": {"n": 1},
    }
    answer = await harness.http.post(
        f"{harness.regions['beijing']}/api/v1/services/aigc/image2image/image-synthesis",
        json=body,
        headers={"authorization": "Bearer sk-sandbox", "x-dashscope-async": "enable"},
    )
    answer.raise_for_status()


async def test_doubt_outlasts_patience() -> None:
    """A doubt that is open at the deadline is told, and the retry joins what was found."""
    faults = (Fault("submit", Late(1.5), count=1),)
    slow = replace(PLAIN, faults=faults, latency=Constant(8.0))
    async with start_harness(slow) as harness:
        answer = await harness.edit(headers={"x-stainless-read-timeout": "4"})
        again = await harness.edit(headers={"x-stainless-retry-count": "1"})

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "submit_uncertain")
        assert answer.headers["x-should-retry"] == "true"
        assert 0 < int(answer.headers["retry-after-ms"]) <= 60_000
        assert origin_of(pictures_of(again)[0]) == origin("make it sepia", photo())
        assert (await harness.books())["tasks_made"] == 1
