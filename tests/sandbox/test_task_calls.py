"""Query, list and cancel over HTTP."""

import pytest

from gateway.sandbox import Limits, Listing
from tests.sandbox.stage import KEY, region

pytestmark = pytest.mark.anyio


async def test_life_of_a_task() -> None:
    """A task runs, succeeds with a URL of this very host, and is UNKNOWN 24 h after its end."""
    async with region() as visitor:
        task_id = await visitor.submit(n=2)

        assert await visitor.status(task_id) == "RUNNING"
        visitor.clock.forward(10)
        told = await visitor.query(task_id)
        visitor.clock.forward(86399)
        assert await visitor.status(task_id) == "SUCCEEDED"
        visitor.clock.forward(1)
        gone = await visitor.query(task_id)

        assert told["usage"] == {"image_count": 2}
        assert told["output"]["end_time"] == "2025-09-23 22:14:20.800"
        urls = [result["url"] for result in told["output"]["results"]]
        assert all(url.startswith("http://region.test:81/results/") for url in urls)
        assert gone["output"] == {"task_id": task_id, "task_status": "UNKNOWN"}
        assert set(gone) == {"output", "request_id"}


async def test_public_base() -> None:
    """A region behind a name hands out URLs of that name."""
    async with region(public_base="https://store.example") as visitor:
        task_id = await visitor.submit()
        visitor.clock.forward(10)

        (result,) = (await visitor.query(task_id))["output"]["results"]
        assert result["url"].startswith("https://store.example/results/")


async def test_five_run_and_the_rest_wait() -> None:
    """Of eight tasks of an account five run; the next start as places are freed, in order."""
    async with region(limits=Limits(submits_per_second=100, task_calls_per_second=100)) as visitor:
        tasks = [await visitor.submit() for _ in range(8)]
        other = await visitor.as_("sk-two").submit()

        first = [await visitor.status(task_id) for task_id in tasks]
        visitor.clock.forward(10)
        second = [await visitor.status(task_id) for task_id in tasks]

        assert first == ["RUNNING"] * 5 + ["PENDING"] * 3
        assert second == ["SUCCEEDED"] * 5 + ["RUNNING"] * 3
        assert await visitor.as_("sk-two").status(other) == "SUCCEEDED"


async def test_visibility() -> None:
    """Every key of the account sees its tasks; another account does not."""
    async with region() as visitor:
        task_id = await visitor.submit()

        assert await visitor.as_("sk-one-more").status(task_id) == "RUNNING"
        assert await visitor.as_("sk-two").status(task_id) == "UNKNOWN"
        assert await visitor.as_("sk-two").rows() == []
        assert (await visitor.as_("sk-two").cancel(task_id)).status_code == 400


async def test_task_calls_share_one_limit() -> None:
    """Query, list and cancel together are twenty a second for all keys of an account."""
    async with region() as visitor:
        for _ in range(9):
            await visitor.query("x")
        for _ in range(9):
            await visitor.as_("sk-one-more").rows()
        await visitor.cancel("x")
        await visitor.cancel("x")

        answers = [await visitor.get("/api/v1/tasks/x"), await visitor.get("/api/v1/tasks")]
        answers.append(await visitor.cancel("x"))
        free = await visitor.as_("sk-two").get("/api/v1/tasks")
        visitor.clock.forward(1.0)
        later = await visitor.get("/api/v1/tasks/x")

        assert {answer.status_code for answer in answers} == {429}
        assert {answer.json()["code"] for answer in answers} == {"Throttling.RateQuota"}
        assert (free.status_code, later.status_code) == (200, 200)
        counts = (await visitor.books())["counts"]
        assert counts["query.throttled"] == counts["list.throttled"] == 1
        assert counts["cancel.throttled"] == 1


async def test_no_key() -> None:
    """Task calls need a key too."""
    async with region() as visitor:
        answer = await visitor.http.get("/api/v1/tasks/x")

        assert (answer.status_code, answer.json()["message"]) == (401, "No API-key provided.")


async def test_cancel() -> None:
    """A waiting task is cancelled and answers only a request id; a running one is refused."""
    async with region(limits=Limits(running_tasks=1)) as visitor:
        running, waiting, last = [await visitor.submit() for _ in range(3)]
        visitor.clock.forward(2)

        done = await visitor.cancel(waiting)
        refused = await visitor.cancel(running)

        assert (done.status_code, set(done.json())) == (200, {"request_id"})
        assert refused.status_code == 400
        assert refused.json() == {
            "code": "UnsupportedOperation",
            "message": (
                "Failed to cancel the task, please confirm if the task is in PENDING status."
            ),
            "request_id": refused.headers["x-request-id"],
        }
        assert (await visitor.query(waiting))["output"] == {
            "task_id": waiting,
            "task_status": "CANCELED",
            "submit_time": "2025-09-23 22:14:10.800",
            "end_time": "2025-09-23 22:14:12.800",
        }
        visitor.clock.forward(8)
        assert await visitor.status(last) == "RUNNING"


async def test_a_place_freed_while_nobody_looked() -> None:
    """A task that began while nobody looked cannot be cancelled."""
    async with region(limits=Limits(running_tasks=1)) as visitor:
        await visitor.submit()
        second = await visitor.submit()
        visitor.clock.forward(10)

        assert (await visitor.cancel(second)).status_code == 400


@pytest.mark.parametrize("path", ["/api/v1/tasks", "/api/v1/tasks/"])
async def test_list_row(path: str) -> None:
    """A row has the list's own names: status, epoch milliseconds, no URLs."""
    async with region() as visitor:
        task_id = await visitor.submit()
        running = (await visitor.get(path)).json()
        visitor.clock.forward(10)

        ended = (await visitor.get(path)).json()

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
    async with region(listing=Listing(lag_seconds=2)) as visitor:
        await visitor.submit()

        seen = []
        for _ in range(7):
            seen.append([row["status"] for row in await visitor.rows()])
            visitor.clock.forward(2)

        assert seen == [[], *[["RUNNING"]] * 5, ["SUCCEEDED"]]


async def test_list_refused() -> None:
    """A region can refuse the list call, and a fault can for a time."""
    async with region(listing=Listing(refused=True)) as visitor:
        answer = await visitor.get("/api/v1/tasks")

        assert (answer.status_code, answer.json()["code"]) == (403, "AccessDenied")


async def test_list_leaves_out_what_is_not_yet_there() -> None:
    """Lost tasks and tasks of another account are in no list."""
    async with region() as visitor:
        await visitor.submit("[sandbox:unknown] [sandbox:seconds 1]")
        await visitor.as_("sk-two").submit()
        kept = await visitor.submit()
        visitor.clock.forward(1)

        assert [row["task_id"] for row in await visitor.rows()] == [kept]


async def test_forget() -> None:
    """One query can be answered UNKNOWN while the task lives on."""
    async with region() as visitor:
        task_id = await visitor.submit()
        await visitor.fault(on="query", do="forget", prompt="hat", nth=2)

        seen = [await visitor.status(task_id) for _ in range(3)]

        assert seen == ["RUNNING", "UNKNOWN", "RUNNING"]
        assert KEY not in str(await visitor.books())
