"""Synchronous submits: the response, the bill, and callers who disconnect."""

from functools import partial

import anyio
import httpx
import pytest

from gateway.sandbox import AccountLimits, read_labels
from tests.sandbox.region_client import (
    EPOCH,
    ManualClock,
    SkippingClock,
    data_url,
    images,
    only_row,
    picture,
    region,
    socket_region,
    uploaded_url,
)

pytestmark = pytest.mark.anyio


async def test_answer() -> None:
    """After as long as a task takes it tells the pictures, their count and size, and no more."""
    async with region() as client:
        answer = await client.synchronous("a hat", data_url(picture()), n=2, size="1024*1536")

        assert client.clock.time == 1010
        urls = images(answer)
        assert len(set(urls)) == 2
        assert answer.json() == {
            "request_id": answer.headers["x-request-id"],
            "output": {
                "choices": [
                    {
                        "finish_reason": "stop",
                        "message": {
                            "role": "assistant",
                            "content": [{"image": url} for url in urls],
                        },
                    }
                ]
            },
            "usage": {"image_count": 2, "width": 1024, "height": 1536},
        }


async def test_results() -> None:
    """The pictures are signed URLs of this host, good for 24 hours from the end."""
    async with region() as client:
        sent = data_url(picture(kind="GIF"), "image/gif")
        (url,) = images(await client.synchronous("a hat", sent))
        got = await client.http.get(url)
        client.clock.advance(86399)
        last = await client.http.get(url)
        client.clock.advance(1)
        late = await client.http.get(url)

        assert url.startswith("http://region.test:81/results/")
        assert f"Expires={int(EPOCH + 10 + 86400)}&" in url
        row = await only_row(client)
        assert read_labels(got.content)["sandbox-input-sha256"] == row["inputs_sha256"][0]
        assert (last.content, late.status_code) == (got.content, 403)
        assert row["downloads"] == [2]


async def test_books() -> None:
    """The work is booked as paid, apart from tasks; there is no task to list, query or cancel."""
    async with region() as client:
        await client.synchronous(n=3)
        task_id = await client.submit()
        books = await client.books()

        work, task = books["tasks"]
        assert (work["answers_at_once"], task["answers_at_once"]) == (True, False)
        assert (work["model"], work["n"], work["status"]) == (
            "qwen-image-edit-plus",
            3,
            "SUCCEEDED",
        )
        assert work["submit_time"] == work["start_time"] == pytest.approx(EPOCH)
        assert work["end_time"] == pytest.approx(EPOCH + 10)
        assert (books["tasks_made"], books["images_billed"]) == (2, 3)
        assert [row["task_id"] for row in await client.rows()] == [task_id]
        assert await client.status(work["task_id"]) == "UNKNOWN"
        assert (await client.cancel(work["task_id"])).status_code == 400


@pytest.mark.parametrize("text_first", [False, True])
async def test_order_of_the_content(*, text_first: bool) -> None:
    """Pictures and text may stand in any order."""
    content = [
        {"image": "https://x.example/a"},
        {"text": "a hat"},
        {"image": "https://x.example/b"},
    ]
    if text_first:
        content.sort(key=lambda part: "image" in part)
    table = {
        "model": "qwen-image-edit-plus",
        "input": {"messages": [{"role": "user", "content": content}]},
    }
    async with region() as client:
        path = "/api/v1/services/aigc/multimodal-generation/generation"
        answer = await client.http.post(path, json=table, headers=client.headers)

        assert len(images(answer)) == 1
        assert (await only_row(client))["inputs"] == ["url", "url"]


async def test_long_texts_are_cut_in_silence() -> None:
    """A prompt is cut at 800 characters, and no length of either text is refused."""
    async with region() as client:
        answer = await client.synchronous("帽" * 801, negative_prompt="x" * 501)

        assert answer.status_code == 200
        assert (await only_row(client))["prompt"] == "帽" * 800


async def test_uploaded_picture() -> None:
    """An uploaded picture is taken by its oss URL, with the header that resolves it."""
    async with region() as client:
        url = await uploaded_url(client, "a.png", "qwen-image-edit-plus")
        bare = await client.synchronous("a hat", url)
        good = await client.synchronous(
            "a hat", url, headers={"x-dashscope-ossresourceresolve": "enable"}
        )

        assert (bare.status_code, bare.json()["code"]) == (400, "InvalidParameter.DataInspection")
        assert len(images(good)) == 1


async def test_latency_and_speed() -> None:
    """It takes the region's latency over its speed, and what the admin door sets from then on."""
    async with region(speed=4, picture="plain", plain_bytes=1000) as client:
        await client.synchronous()
        await client.http.put("/_sandbox/latency", json={"kind": "constant", "seconds": 40})
        await client.synchronous()
        await client.synchronous("[sandbox:seconds 3]")

        assert client.clock.time == 1000 + 2.5 + 10 + 3


async def test_answer_of_a_sleep_that_ends_early() -> None:
    """A sleep may end before its time by the clock: the answer is whole."""

    class EarlyClock(SkippingClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds - 1e-9)

    async with region(clock=EarlyClock()) as client:
        assert len(images(await client.synchronous(n=2))) == 2


async def test_it_takes_no_place_of_a_task() -> None:
    """Any number works at once, beside the tasks that run; the rate of submits is the model's."""
    clock = ManualClock()
    limits = AccountLimits(submits_per_second=10, running_tasks=1)
    async with region(clock=clock, limits=limits) as client, anyio.create_task_group() as group:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await client.synchronous())

        for _ in range(10):
            group.start_soon(ask)
        await clock.wait_for_sleepers(10)
        first, second = await client.submit(), await client.submit()
        refused = await client.synchronous()
        rows = (await client.books())["tasks"]
        statuses = [await client.status(first), await client.status(second)]
        assert answers == []
        clock.advance(10)
        await clock.wait_for_sleepers(0)

    assert [answer.status_code for answer in answers] == [200] * 10
    assert (refused.status_code, refused.json()["code"]) == (429, "Throttling.RateQuota")
    assert [row["status"] for row in rows if row["answers_at_once"]] == ["RUNNING"] * 10
    assert statuses == ["RUNNING", "PENDING"]


async def test_a_caller_who_leaves_pays() -> None:
    """The work goes on and is billed, the answer is nobody's, and the books count who left."""
    clock = ManualClock()
    async with socket_region(clock=clock) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(client.synchronous, n=2))
            await clock.wait_for_sleepers(1)
            group.cancel_scope.cancel()
        await clock.wait_for_sleepers(0)
        running = await client.books()
        clock.advance(10)
        books = await client.books()

        assert running["tasks"][0]["status"] == "RUNNING"
        assert (running["counts"]["submit.left"], running["images_billed"]) == (1, 0)
        assert (books["counts"]["submit.left"], books["images_billed"]) == (1, 2)
        assert books["downloads"] == 0


async def test_a_caller_who_leaves_in_process_pays() -> None:
    """A call that is cancelled inside its caller's process goes on in the books."""
    clock = ManualClock()
    async with region(clock=clock) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.synchronous)
            await clock.wait_for_sleepers(1)
            group.cancel_scope.cancel()
        clock.advance(10)

        assert (await client.books())["images_billed"] == 1
