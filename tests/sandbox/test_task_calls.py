"""Query, list and cancel over HTTP."""

import pytest

from gateway.sandbox import AccountLimits, ListOptions
from tests.sandbox.region_client import KEY, region

pytestmark = pytest.mark.anyio


async def test_life_of_a_task() -> None:
    """A task runs, succeeds with a URL of this very host, and is UNKNOWN 24 h after its end."""
    async with region() as client:
        task_id = await client.submit(n=2)

        assert await client.status(task_id) == "RUNNING"
        client.clock.advance(10)
        queried = await client.query(task_id)
        client.clock.advance(86399)
        assert await client.status(task_id) == "SUCCEEDED"
        client.clock.advance(1)
        gone = await client.query(task_id)

        assert queried["usage"] == {"image_count": 2}
        assert queried["output"]["end_time"] == "2025-09-23 22:14:20.800"
        urls = [result["url"] for result in queried["output"]["results"]]
        assert all(url.startswith("http://region.test:81/results/") for url in urls)
        assert gone["output"] == {"task_id": task_id, "task_status": "UNKNOWN"}
        assert set(gone) == {"output", "request_id"}


async def test_public_base() -> None:
    """A region behind a name hands out URLs of that name."""
    async with region(public_base="https://store.example") as client:
        task_id = await client.submit()
        client.clock.advance(10)

        (result,) = (await client.query(task_id))["output"]["results"]
        assert result["url"].startswith("https://store.example/results/")


async def test_five_run_and_the_rest_wait() -> None:
    """Of eight tasks of an account five run; the next start as places are freed, in order."""
    async with region(
        limits=AccountLimits(submits_per_second=100, task_calls_per_second=100)
    ) as client:
        tasks = [await client.submit() for _ in range(8)]
        other = await client.with_key("sk-two").submit()

        first = [await client.status(task_id) for task_id in tasks]
        client.clock.advance(10)
        second = [await client.status(task_id) for task_id in tasks]

        assert first == ["RUNNING"] * 5 + ["PENDING"] * 3
        assert second == ["SUCCEEDED"] * 5 + ["RUNNING"] * 3
        assert await client.with_key("sk-two").status(other) == "SUCCEEDED"


async def test_visibility() -> None:
    """Every key of the account sees its tasks; another account does not."""
    async with region() as client:
        task_id = await client.submit()

        assert await client.with_key("sk-one-more").status(task_id) == "RUNNING"
        assert await client.with_key("sk-two").status(task_id) == "UNKNOWN"
        assert await client.with_key("sk-two").rows() == []
        assert (await client.with_key("sk-two").cancel(task_id)).status_code == 400


async def test_task_calls_share_one_limit() -> None:
    """Query, list and cancel together are twenty a second for all keys of an account."""
    async with region() as client:
        for _ in range(9):
            await client.query("x")
        for _ in range(9):
            await client.with_key("sk-one-more").rows()
        await client.cancel("x")
        await client.cancel("x")

        answers = [await client.get("/api/v1/tasks/x"), await client.get("/api/v1/tasks")]
        answers.append(await client.cancel("x"))
        free = await client.with_key("sk-two").get("/api/v1/tasks")
        client.clock.advance(1.0)
        later = await client.get("/api/v1/tasks/x")

        assert {answer.status_code for answer in answers} == {429}
        assert {answer.json()["code"] for answer in answers} == {"Throttling.RateQuota"}
        assert (free.status_code, later.status_code) == (200, 200)
        counts = (await client.books())["counts"]
        assert counts["query.throttled"] == counts["list.throttled"] == 1
        assert counts["cancel.throttled"] == 1


async def test_no_key() -> None:
    """Task calls need a key too."""
    async with region() as client:
        answer = await client.http.get("/api/v1/tasks/x")

        assert (answer.status_code, answer.json()["message"]) == (401, "No API-key provided.")


async def test_cancel() -> None:
    """A waiting task is cancelled and answers only a request id; a running one is refused."""
    async with region(limits=AccountLimits(running_tasks=1)) as client:
        running, waiting, last = [await client.submit() for _ in range(3)]
        client.clock.advance(2)

        done = await client.cancel(waiting)
        refused = await client.cancel(running)

        assert (done.status_code, set(done.json())) == (200, {"request_id"})
        assert refused.status_code == 400
        assert refused.json() == {
            "code": "UnsupportedOperation",
            "message": (
                "Failed to cancel the task, please confirm if the task is in PENDING status."
            ),
            "request_id": refused.headers["x-request-id"],
        }
        assert (await client.query(waiting))["output"] == {
            "task_id": waiting,
            "task_status": "CANCELED",
            "submit_time": "2025-09-23 22:14:10.800",
            "end_time": "2025-09-23 22:14:12.800",
        }
        client.clock.advance(8)
        assert await client.status(last) == "RUNNING"


async def test_a_place_freed_while_nobody_looked() -> None:
    """A task that began while nobody looked cannot be cancelled."""
    async with region(limits=AccountLimits(running_tasks=1)) as client:
        await client.submit()
        second = await client.submit()
        client.clock.advance(10)

        assert (await client.cancel(second)).status_code == 400


@pytest.mark.parametrize("path", ["/api/v1/tasks", "/api/v1/tasks/"])
async def test_list_row(path: str) -> None:
    """A row has the list's own names: status, epoch milliseconds, no URLs."""
    async with region() as client:
        task_id = await client.submit()
        running = (await client.get(path)).json()
        client.clock.advance(10)

        ended = (await client.get(path)).json()

        assert {name: running[name] for name in running if name not in {"data", "request_id"}} == {
            "total": 1,
            "total_page": 1,
            "page_no": 1,
            "page_size": 10,
        }
        (row,) = running["data"]
        assert row == {
            "api_key_id": row["api_key_id"],
            "caller_parent_id": row["caller_uid"],
            "caller_uid": row["caller_uid"],
            "gmt_create": 1758636850800,
            "start_time": 1758636850800,
            "model_name": "wan2.5-i2i-preview",
            "region": "beijing",
            "request_id": row["request_id"],
            "status": "RUNNING",
            "task_id": task_id,
            "user_api_unique_key": (
                "apikey:v1:aigc:image2image:image-synthesis:wan2.5-i2i-preview"
            ),
        }
        assert ended["data"] == [{**row, "status": "SUCCEEDED", "end_time": 1758636860800}]


async def test_list_lags() -> None:
    """A list that lags shows no task, and no end, before so many seconds have passed."""
    async with region(listing=ListOptions(lag_seconds=2)) as client:
        await client.submit()

        seen = []
        for _ in range(7):
            seen.append([row["status"] for row in await client.rows()])
            client.clock.advance(2)

        assert seen == [[], *[["RUNNING"]] * 5, ["SUCCEEDED"]]


async def test_list_refused() -> None:
    """A region can refuse the list call, and a fault can for a time."""
    async with region(listing=ListOptions(refused=True)) as client:
        answer = await client.get("/api/v1/tasks")

        assert (answer.status_code, answer.json()["code"]) == (403, "AccessDenied")


async def test_list_leaves_out_what_is_not_yet_there() -> None:
    """Lost tasks and tasks of another account are in no list."""
    async with region() as client:
        await client.submit("[sandbox:unknown] [sandbox:seconds 1]")
        await client.with_key("sk-two").submit()
        kept = await client.submit()
        client.clock.advance(1)

        assert [row["task_id"] for row in await client.rows()] == [kept]


async def test_forget() -> None:
    """One query can be answered UNKNOWN while the task lives on."""
    async with region() as client:
        task_id = await client.submit()
        await client.fault(on="query", do="forget", prompt="hat", nth=2)

        seen = [await client.status(task_id) for _ in range(3)]

        assert seen == ["RUNNING", "UNKNOWN", "RUNNING"]
        assert KEY not in str(await client.books())
