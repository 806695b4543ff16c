"""Faults carried out over a real socket and in process."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest

from gateway.sandbox import AccountLimits, Constant, ListOptions, PeerCut
from tests.sandbox.region_client import CONFIG, RegionClient, body, region, socket_region

pytestmark = pytest.mark.anyio

LOST = "Server disconnected without sending a response"


@pytest.mark.parametrize(
    ("rule", "status", "code", "tasks"),
    [
        pytest.param(
            {"status": 429, "code": "Throttling.RateQuota"},
            429,
            "Throttling.RateQuota",
            0,
            id="throttled",
        ),
        pytest.param({"status": 500}, 500, "InternalError", 0, id="broken"),
        pytest.param(
            {"status": 504, "code": "GatewayTimeout", "after": True},
            504,
            "GatewayTimeout",
            1,
            id="broken-after-the-task",
        ),
    ],
)
async def test_scripted_answer(rule: dict[str, Any], status: int, code: str, tasks: int) -> None:
    """A scripted answer comes before the task is made, or hides one that was."""
    async with region() as client:
        await client.fault(on="submit", do="answer", count=1, retry_after=7, **rule)

        answer = await client.post(body())

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["retry-after"] == "7"
        books = await client.books()
        assert (books["tasks_made"], books["counts"]["submit.faulted"]) == (tasks, 1)
        assert (await client.post(body())).status_code == 200


async def test_scripted_text() -> None:
    """A scripted answer may be the page of a load balancer."""
    async with region() as client:
        await client.fault(on="query", do="answer", status=502, body="<html>Bad Gateway</html>")

        answer = await client.get("/api/v1/tasks/x")

        assert (answer.status_code, answer.text) == (502, "<html>Bad Gateway</html>")
        assert "retry-after" not in answer.headers


@pytest.mark.parametrize("after", [False, True])
async def test_hesitation(*, after: bool) -> None:
    """A call that hangs for a time answers then: the task is made before or after the silence."""
    async with region() as client:
        await client.fault(on="submit", do="hang", seconds=4, after=after)

        assert (await client.post(body())).status_code == 200

        assert client.clock.time == 1004
        (row,) = (await client.books())["tasks"]
        assert row["submit_time"] == pytest.approx(1758636850.8 + (0 if after else 4))


async def test_a_query_that_hangs_answers_what_is_true_then() -> None:
    """An answer that comes late tells of the time at which it comes."""
    async with region() as client:
        task_id = await client.submit()
        await client.fault(on="query", do="hang", seconds=10)

        assert await client.status(task_id) == "SUCCEEDED"


async def test_a_query_that_hangs_sees_who_moved_up() -> None:
    """A waiting task that starts during the silence is told as RUNNING."""
    async with region(limits=AccountLimits(running_tasks=1)) as client:
        await client.submit()
        waiting = await client.submit()
        await client.fault(on="query", do="hang", seconds=10)

        assert await client.status(waiting) == "RUNNING"


async def _until(client: RegionClient, counted: str, tasks: int = 0) -> None:
    """Wait until the region has counted that, and made so many tasks."""
    with anyio.fail_after(120):
        while True:
            books = await client.books()
            if counted in books["counts"] and books["tasks_made"] == tasks:
                break


@pytest.mark.parametrize(("after", "tasks"), [(False, 0), (True, 1)])
async def test_silence_until_the_peer_leaves(*, after: bool, tasks: int) -> None:
    """A call that hangs for good ends when the peer leaves; the region goes on."""
    async with socket_region() as client:
        await client.fault(on="submit", do="hang", after=after, count=1)

        async with anyio.create_task_group() as group:
            group.start_soon(client.post, body())
            await _until(client, "submit.received", tasks)
            group.cancel_scope.cancel()

        assert (await client.books())["tasks_made"] == tasks


@pytest.mark.parametrize(
    ("rule", "error", "tasks"),
    [
        pytest.param({"do": "drop"}, httpx.RemoteProtocolError, 0, id="before"),
        pytest.param({"do": "drop", "after": True}, httpx.RemoteProtocolError, 1, id="after"),
        pytest.param({"do": "drop", "reset": True}, httpx.ReadError, 0, id="reset"),
        pytest.param(
            {"do": "drop", "after": True, "seconds": 3},
            httpx.RemoteProtocolError,
            1,
            id="after-a-silence",
        ),
        pytest.param({"do": "late", "seconds": 1.5}, httpx.RemoteProtocolError, 0, id="late"),
        pytest.param({"do": "cut", "bytes": 9}, httpx.RemoteProtocolError, 1, id="cut"),
    ],
)
async def test_lost_answers(rule: dict[str, Any], error: type[Exception], tasks: int) -> None:
    """The connection is really cut, and the task exists or not as the rule says."""
    async with socket_region() as client:
        await client.fault(on="submit", count=1, **rule)

        with pytest.raises(error):
            await client.post(body())

        assert (await client.books())["tasks_made"] == tasks
        assert (await client.post(body())).status_code == 200


async def test_late_task() -> None:
    """A late task is in no list before its time, and then as if submitted at that time."""
    async with socket_region() as client:
        await client.fault(on="submit", do="late", seconds=1.5)
        with pytest.raises(httpx.RemoteProtocolError, match=LOST):
            await client.post(body())

        client.clock.advance(1.4)
        before = await client.rows()
        client.clock.advance(0.1)
        (row,) = await client.rows()

        assert before == []
        assert (row["gmt_create"], row["status"]) == (1758636852300, "RUNNING")


async def ended_url(client: RegionClient) -> str:
    task_id = await client.submit()
    client.clock.advance(10)
    return str((await client.query(task_id))["output"]["results"][0]["url"])


async def until_cut(http: httpx.AsyncClient, url: str) -> bytes:
    """What comes of a download that is promised whole and cut."""
    got = b""
    async with http.stream("GET", url) as answer:
        assert int(answer.headers["content-length"]) > 290_000
        try:
            async for piece in answer.aiter_bytes():
                got += piece
        except (httpx.RemoteProtocolError, httpx.ReadError):
            return got
    raise AssertionError("the download was not cut")


@pytest.mark.parametrize("reset", [False, True])
async def test_cut_download(*, reset: bool) -> None:
    """A download is cut after so many bytes, and the rest can be had by a range."""
    async with socket_region(replace(CONFIG, picture="plain", plain_bytes=300_000)) as client:
        url = await ended_url(client)
        await client.fault(on="download", do="cut", bytes=100_000, count=1, reset=reset)

        got = await until_cut(client.http, url)
        rest = await client.http.get(url, headers={"range": f"bytes={len(got)}-"})

        # A reset may overtake bytes that lie in the peer's kernel.
        assert len(got) <= 100_000 if reset else len(got) == 100_000
        assert rest.status_code == 206
        assert got + rest.content == (await client.http.get(url)).content


async def test_cut_beyond_the_end_cuts_nothing() -> None:
    """An answer shorter than the cut is whole."""
    async with socket_region() as client:
        await client.fault(on="query", do="cut", bytes=10_000)

        assert (await client.query("x"))["output"]["task_status"] == "UNKNOWN"


@pytest.mark.parametrize(
    ("rule", "seconds"),
    [
        pytest.param({"start": 3}, 3, id="start"),
        pytest.param({"bytes_per_second": 10_000}, 30, id="bytes"),
        pytest.param({"start": 2, "bytes_per_second": 100_000}, 5, id="both"),
        pytest.param({"bytes_per_second": 1_000_000_000}, 0, id="faster-than-needed"),
    ],
)
async def test_slow_download(rule: dict[str, Any], seconds: float) -> None:
    """A slow download takes its time and is whole."""
    async with region(picture="plain", plain_bytes=300_000) as client:
        url = await ended_url(client)
        whole = (await client.http.get(url)).content
        await client.fault(on="download", do="slow", **rule)
        before = client.clock.time

        answer = await client.http.get(url)

        assert answer.content == whole
        assert client.clock.time - before == pytest.approx(seconds, abs=0.3)


async def test_slow_empty_answer() -> None:
    """An answer without a body can be slow as well."""
    async with region() as client:
        policy = await client.get("/api/v1/uploads", action="getPolicy", model="m")
        data = policy.json()["data"]
        await client.fault(on="upload", do="slow", start=1, bytes_per_second=5)
        form = {
            "OSSAccessKeyId": data["oss_access_key_id"],
            "Signature": data["signature"],
            "policy": data["policy"],
            "key": f"{data['upload_dir']}/a",
        }

        answer = await client.http.post("/oss/uploads", data=form, files={"file": b"x"})

        assert (answer.status_code, answer.content) == (200, b"")
        assert client.clock.time == 1001


async def test_in_process() -> None:
    """Inside its caller's process, a cut connection is an exception that names itself."""
    async with region(listing=ListOptions()) as client:
        await client.fault(on="list", do="drop")

        with pytest.raises(PeerCut):
            await client.get("/api/v1/tasks")


async def test_peer_that_leaves_inside_its_body() -> None:
    """A submit whose body never ends makes no task, and is counted as left."""
    async with socket_region(replace(CONFIG, latency=Constant(1))) as client:

        async def half() -> AsyncIterator[bytes]:
            yield b'{"model": '
            await anyio.sleep_forever()

        async def submit() -> None:
            await client.http.post(
                "/api/v1/services/aigc/image2image/image-synthesis",
                content=half(),
                headers={
                    **client.headers,
                    "x-dashscope-async": "enable",
                    "content-type": "application/json",
                },
            )

        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await _until(client, "submit.received")
            group.cancel_scope.cancel()

        await _until(client, "submit.left")
