"""A submit whose answer is the result: its answer, its bill, its faults."""

from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from gateway.sandbox import Constant, Limits, PeerCut, read_labels
from tests.sandbox.stage import (
    CONFIG,
    EPOCH,
    FakeClock,
    PatientClock,
    Visitor,
    data_url,
    picture,
    region,
    socket_region,
)
from tests.sandbox.test_submits import uploaded_url

pytestmark = pytest.mark.anyio


def images(answer: httpx.Response) -> list[str]:
    """The URLs of a good answer."""
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["output"]["choices"]
    return [part["image"] for part in choice["message"]["content"]]


async def only_row(visitor: Visitor) -> dict[str, Any]:
    (row,) = (await visitor.books())["tasks"]
    return dict(row)


async def test_answer() -> None:
    """After as long as a task takes it tells the pictures, their count and size, and no more."""
    async with region() as visitor:
        answer = await visitor.at_once("a hat", data_url(picture()), n=2, size="1024*1536")

        assert visitor.clock.time == 1010
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
    async with region() as visitor:
        sent = data_url(picture(kind="GIF"), "image/gif")
        (url,) = images(await visitor.at_once("a hat", sent))
        got = await visitor.http.get(url)
        visitor.clock.forward(86399)
        last = await visitor.http.get(url)
        visitor.clock.forward(1)
        late = await visitor.http.get(url)

        assert url.startswith("http://region.test:81/results/")
        assert f"Expires={int(EPOCH + 10 + 86400)}&" in url
        row = await only_row(visitor)
        assert read_labels(got.content)["sandbox-input-sha256"] == row["inputs_sha256"][0]
        assert (last.content, late.status_code) == (got.content, 403)
        assert row["downloads"] == [2]


async def test_books() -> None:
    """The work is booked as paid, apart from tasks; there is no task to list, query or cancel."""
    async with region() as visitor:
        await visitor.at_once(n=3)
        task_id = await visitor.submit()
        books = await visitor.books()

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
        assert [row["task_id"] for row in await visitor.rows()] == [task_id]
        assert await visitor.status(work["task_id"]) == "UNKNOWN"
        assert (await visitor.cancel(work["task_id"])).status_code == 400


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
    async with region() as visitor:
        path = "/api/v1/services/aigc/multimodal-generation/generation"
        answer = await visitor.http.post(path, json=table, headers=visitor.headers)

        assert len(images(answer)) == 1
        assert (await only_row(visitor))["inputs"] == ["url", "url"]


async def test_long_texts_are_cut_in_silence() -> None:
    """A prompt is cut at 800 characters, and no length of either text is refused."""
    async with region() as visitor:
        answer = await visitor.at_once("帽" * 801, negative_prompt="x" * 501)

        assert answer.status_code == 200
        assert (await only_row(visitor))["prompt"] == "帽" * 800


async def test_uploaded_picture() -> None:
    """An uploaded picture is taken by its oss URL, with the header that resolves it."""
    async with region() as visitor:
        url = await uploaded_url(visitor, "a.png", "qwen-image-edit-plus")
        bare = await visitor.at_once("a hat", url)
        good = await visitor.at_once(
            "a hat", url, headers={"x-dashscope-ossresourceresolve": "enable"}
        )

        assert (bare.status_code, bare.json()["code"]) == (400, "InvalidParameter.DataInspection")
        assert len(images(good)) == 1


async def test_latency_and_speed() -> None:
    """It takes the region's latency over its speed, and what the admin door sets from then on."""
    async with region(speed=4, picture="plain", plain_bytes=1000) as visitor:
        await visitor.at_once()
        await visitor.http.put("/_sandbox/latency", json={"kind": "constant", "seconds": 40})
        await visitor.at_once()
        await visitor.at_once("[sandbox:seconds 3]")

        assert visitor.clock.time == 1000 + 2.5 + 10 + 3


async def test_answer_of_a_sleep_that_ends_early() -> None:
    """A sleep may end before its time by the clock: the answer is whole."""

    class Hasty(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds - 1e-9)

    async with region(clock=Hasty()) as visitor:
        assert len(images(await visitor.at_once(n=2))) == 2


async def test_it_takes_no_place_of_a_task() -> None:
    """Any number works at once, beside the tasks that run; the rate of submits is the account's."""
    clock = PatientClock()
    limits = Limits(submits_per_second=10, running_tasks=1)
    async with region(clock=clock, limits=limits) as visitor, anyio.create_task_group() as group:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await visitor.at_once())

        for _ in range(8):
            group.start_soon(ask)
        await clock.asleep(8)
        first, second = await visitor.submit(), await visitor.submit()
        refused = await visitor.at_once()
        rows = (await visitor.books())["tasks"]
        statuses = [await visitor.status(first), await visitor.status(second)]
        assert answers == []
        clock.forward(10)
        await clock.asleep(0)

    assert [answer.status_code for answer in answers] == [200] * 8
    assert (refused.status_code, refused.json()["code"]) == (429, "Throttling.RateQuota")
    assert [row["status"] for row in rows if row["answers_at_once"]] == ["RUNNING"] * 8
    assert statuses == ["RUNNING", "PENDING"]


async def test_a_caller_who_leaves_pays() -> None:
    """The work goes on and is billed, the answer is nobody's, and the books count who left."""
    clock = PatientClock()
    async with socket_region(clock=clock) as visitor:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(visitor.at_once, n=2))
            await clock.asleep(1)
            group.cancel_scope.cancel()
        await clock.asleep(0)
        running = await visitor.books()
        clock.forward(10)
        books = await visitor.books()

        assert running["tasks"][0]["status"] == "RUNNING"
        assert (running["counts"]["submit.left"], running["images_billed"]) == (1, 0)
        assert (books["counts"]["submit.left"], books["images_billed"]) == (1, 2)
        assert books["downloads"] == 0


async def test_a_caller_who_leaves_in_process_pays() -> None:
    """A call that is cancelled inside its caller's process goes on in the books."""
    clock = PatientClock()
    async with region(clock=clock) as visitor:
        async with anyio.create_task_group() as group:
            group.start_soon(visitor.at_once)
            await clock.asleep(1)
            group.cancel_scope.cancel()
        clock.forward(10)

        assert (await visitor.books())["images_billed"] == 1


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        pytest.param({"code": "DataInspectionFailed"}, 400, "DataInspectionFailed", id="content"),
        pytest.param({"code": "InvalidParameter"}, 400, "InvalidParameter", id="parameter"),
        pytest.param({"code": "InternalError"}, 500, "InternalError", id="internal"),
        pytest.param({"code": "InternalError.Algo"}, 500, "InternalError.Algo", id="listed"),
        pytest.param({"code": "InternalError.Odd"}, 500, "InternalError.Odd", id="of its kind"),
        pytest.param({"code": "Odd"}, 400, "Odd", id="unlisted"),
        pytest.param({"status": "CANCELED"}, 500, "InternalError.Timeout", id="canceled"),
        pytest.param({"status": "UNKNOWN"}, 500, "InternalError.Timeout", id="unknown"),
        pytest.param(
            {"status": "SUCCEEDED", "images": [0, 1]}, 500, "InternalError.Timeout", id="no picture"
        ),
    ],
)
async def test_failure(end: dict[str, Any], status: int, code: str) -> None:
    """Work that fails is answered after its time with its code's status, and costs nothing."""
    async with region() as visitor:
        await visitor.fault(on="submit", do="end", **{"status": "FAILED", **end})

        answer = await visitor.at_once(n=2)

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert set(answer.json()) == {"request_id", "code", "message"}
        assert visitor.clock.time == 1010
        books = await visitor.books()
        assert (books["tasks"][0]["status"], books["images_billed"]) == ("FAILED", 0)
        assert books["counts"] == {"submit.faulted": 1, "submit.received": 1}


async def test_words_of_a_failure() -> None:
    """The message is the documented one of the code, or what the script says."""
    async with region() as visitor:
        documented = await visitor.at_once("[sandbox:fail DataInspectionFailed]")
        await visitor.fault(on="submit", do="end", status="FAILED", message="no")
        said = await visitor.at_once()

        assert documented.json()["message"] == "Input data may contain inappropriate content."
        assert said.json()["message"] == "no"


async def test_partial_failure() -> None:
    """Pictures that failed are missing from the answer, and not billed."""
    async with region() as visitor:
        await visitor.fault(on="submit", do="end", images=[0, 2])

        answer = await visitor.at_once(n=3)

        (url,) = images(answer)
        assert answer.json()["usage"]["image_count"] == 1
        got = await visitor.http.get(url)
        assert read_labels(got.content)["sandbox-index"] == "1"
        assert (await visitor.books())["images_billed"] == 1


@pytest.mark.parametrize(
    ("prompt", "status", "made"),
    [
        pytest.param("[sandbox:fail InternalError.Algo]", 500, 1, id="fail"),
        pytest.param("[sandbox:refuse Throttling.RateQuota]", 429, 0, id="refuse"),
        pytest.param("[sandbox:partial 0]", 200, 1, id="partial"),
        pytest.param("[sandbox:cancel]", 500, 1, id="cancel"),
        pytest.param("[sandbox:unknown]", 500, 1, id="unknown"),
        pytest.param("[sandbox:dance]", 400, 0, id="no script"),
    ],
)
async def test_scripts_of_the_prompt(prompt: str, status: int, made: int) -> None:
    """Outcomes that are written into the prompt come about."""
    async with region() as visitor:
        answer = await visitor.at_once(prompt, n=2)

        assert answer.status_code == status
        assert (await visitor.books())["tasks_made"] == made


async def test_late_checks() -> None:
    """With late checks a bad field is booked as work that failed; the answer is the same."""
    for late in (False, True):
        async with region(late_checks=late) as visitor:
            answer = await visitor.at_once(n=7)

            assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
            assert answer.json()["message"] == "The type or value of n is out of definition."
            assert [row["n"] for row in (await visitor.books())["tasks"]] == [1] * late


@pytest.mark.parametrize(
    ("rule", "status", "seconds", "billed"),
    [
        pytest.param({"do": "answer", "status": 503}, 503, 0, 0, id="answer"),
        pytest.param({"do": "answer", "status": 504, "after": True}, 504, 10, 1, id="answer-after"),
        pytest.param({"do": "hang", "seconds": 4}, 200, 14, 1, id="hang"),
        pytest.param({"do": "hang", "seconds": 4, "after": True}, 200, 14, 1, id="hang-after"),
        pytest.param({"do": "slow", "start": 3}, 200, 13, 1, id="slow"),
    ],
)
async def test_faults(rule: dict[str, Any], status: int, seconds: float, billed: int) -> None:
    """A scripted answer comes in place of the work or of its answer; a silence adds to its time."""
    async with region() as visitor:
        await visitor.fault(on="submit", **rule)

        assert (await visitor.at_once()).status_code == status

        assert visitor.clock.time == 1000 + seconds
        assert (await visitor.books())["images_billed"] == billed


@pytest.mark.parametrize(
    ("rule", "error", "seconds", "billed"),
    [
        pytest.param({"do": "drop"}, httpx.RemoteProtocolError, 0, 0, id="before"),
        pytest.param({"do": "drop", "after": True}, httpx.RemoteProtocolError, 10, 1, id="after"),
        pytest.param(
            {"do": "drop", "after": True, "reset": True}, httpx.ReadError, 10, 1, id="rst"
        ),
        pytest.param({"do": "cut", "bytes": 9}, httpx.RemoteProtocolError, 10, 1, id="cut"),
    ],
)
async def test_lost_answers(
    rule: dict[str, Any], error: type[Exception], seconds: float, billed: int
) -> None:
    """A connection that is cut after the work leaves its bill, and one before it none."""
    async with socket_region() as visitor:
        await visitor.fault(on="submit", count=1, **rule)

        with pytest.raises(error):
            await visitor.at_once()

        assert visitor.clock.time == 1000 + seconds
        assert (await visitor.books())["images_billed"] == billed
        assert (await visitor.at_once()).status_code == 200


async def test_late_work() -> None:
    """The connection is cut at once; the work begins as late as the script says, and is billed."""
    async with region() as visitor:
        await visitor.fault(on="submit", do="late", seconds=1.5)
        with pytest.raises(PeerCut):
            await visitor.at_once()
        assert visitor.clock.time == 1000

        seen = []
        for _ in range(3):
            seen.append([row["status"] for row in (await visitor.books())["tasks"]])
            visitor.clock.forward(6)

        assert seen == [[], ["RUNNING"], ["SUCCEEDED"]]
        assert (await only_row(visitor))["submit_time"] == pytest.approx(EPOCH + 1.5)


async def test_silence_until_the_peer_leaves() -> None:
    """A call that hangs for good after its work has made what is billed."""
    async with socket_region(replace(CONFIG, latency=Constant(1))) as visitor:
        await visitor.fault(on="submit", do="hang", after=True)

        with anyio.move_on_after(0.3) as waited:
            await visitor.at_once()

        assert waited.cancelled_caught
        assert (await visitor.books())["images_billed"] == 1
