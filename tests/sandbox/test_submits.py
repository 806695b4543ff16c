"""POST image-synthesis over HTTP: headers, limits, late checks, what is booked."""

from hashlib import sha256
from typing import Any

import pytest

from gateway.sandbox import End, Fault
from tests.sandbox.region_client import KEY, SUBMIT, body, data_url, picture, region, uploaded_url

pytestmark = pytest.mark.anyio

ASYNC = {"x-dashscope-async": "enable"}
AUTH = {"authorization": f"Bearer {KEY}"}
JSON = {"content-type": "application/json"}
BAD_FORM = "Required body invalid, please check the request body format."
SYNC = "current user api does not support synchronous calls."


async def test_success() -> None:
    """A good submit is answered 200 with a PENDING task id and a request id, and nothing else."""
    async with region() as client:
        answer = await client.post(body())

        table = answer.json()
        assert answer.status_code == 200
        assert answer.headers["x-request-id"] == table["request_id"]
        assert table == {
            "output": {"task_status": "PENDING", "task_id": table["output"]["task_id"]},
            "request_id": table["request_id"],
        }
        assert len(table["output"]["task_id"]) == len(table["request_id"]) == 36


@pytest.mark.parametrize(
    ("headers", "status", "code", "message"),
    [
        pytest.param({**ASYNC, **JSON}, 401, "InvalidApiKey", "No API-key provided.", id="no-key"),
        pytest.param(
            {**ASYNC, **JSON, "authorization": "Bearer sk-other-region"},
            401,
            "InvalidApiKey",
            "Invalid API-key provided.",
            id="other-key",
        ),
        pytest.param(
            {**ASYNC, **JSON, "authorization": f"Basic {KEY}"},
            401,
            "InvalidApiKey",
            "Invalid API-key provided.",
            id="no-bearer",
        ),
        pytest.param({**AUTH, **JSON}, 403, "AccessDenied", SYNC, id="not-async"),
        pytest.param(
            {**AUTH, **JSON, "x-dashscope-async": "disable"},
            403,
            "AccessDenied",
            SYNC,
            id="async-disabled",
        ),
        pytest.param(
            {**AUTH, **ASYNC, "content-type": "text/plain"},
            400,
            "InvalidParameter",
            BAD_FORM,
            id="content-type",
        ),
    ],
)
async def test_header_refusals(
    headers: dict[str, str], status: int, code: str, message: str
) -> None:
    """A wrong header is refused in the flat shape, before the body is read."""
    async with region() as client:
        answer = await client.http.post(SUBMIT, content=b"{", headers=headers)

        assert answer.status_code == status
        assert answer.json() == {
            "code": code,
            "message": message,
            "request_id": answer.headers["x-request-id"],
        }
        counts = (await client.books())["counts"]
        assert counts == {"submit.received": 1, "submit.refused": 1}


async def test_content_type_with_charset() -> None:
    """The SDK's content type with a charset passes."""
    async with region() as client:
        answer = await client.post(body(), **{"content-type": "application/json; charset=utf-8"})

        assert answer.status_code == 200


async def test_submit_limit_is_the_accounts() -> None:
    """Five submits a second pass for all keys of an account together; another account is free."""
    async with region() as client:
        for key in (KEY, "sk-one-more", KEY, KEY, "sk-one-more"):
            await client.with_key(key).submit()

        refused = await client.with_key("sk-one-more").post(body())
        other = await client.with_key("sk-two").post(body())
        client.clock.advance(1.0)
        later = await client.post(body())

        assert (refused.status_code, refused.json()["code"]) == (429, "Throttling.RateQuota")
        assert refused.json()["message"] == (
            "Requests rate limit exceeded, please try again later."
        )
        assert (other.status_code, later.status_code) == (200, 200)
        counts = (await client.books())["counts"]
        assert counts == {"submit.received": 8, "submit.throttled": 1}


async def test_body_limit() -> None:
    """A region with a body limit refuses a larger body."""
    async with region(max_body_bytes=50) as client:
        answer = await client.post(body())

        assert answer.status_code == 400
        assert answer.json()["code"] == "BadRequest.TooLarge"
        assert answer.json()["message"] == "Exceeded limit on max bytes to request body : 50"


async def test_late_checks() -> None:
    """With late checks a bad field is a FAILED task, without it is 400 and no task."""
    async with region(late_checks=True) as client:
        task_id = await client.submit(n=5)

        output = (await client.query(task_id))["output"]

        assert output["task_status"] == "FAILED"
        assert output["code"] == "InvalidParameter"
        assert output["message"] == "The type or value of n is out of definition."
        assert output["task_metrics"] == {"TOTAL": 4, "SUCCEEDED": 0, "FAILED": 4}

    async with region() as client:
        assert (await client.post(body(n=5))).status_code == 400
        assert (await client.books())["tasks"] == []


@pytest.mark.parametrize("mode", ["made", "plain"])
async def test_books_hold_the_digests(mode: str) -> None:
    """The books tell the digest of every picture and of the prompt, and the key's alias only."""
    table = body("a hat", n=2, seed=7, size="800*800")
    table["input"]["images"].append(data_url(picture()))
    async with region(picture=mode) as client:
        await client.with_key("sk-one-more").post(table)

        books = await client.books()
        (row,) = books["tasks"]
        assert row["inputs_sha256"] == [
            sha256(b"https://pictures.example/a.png").hexdigest(),
            sha256(picture()).hexdigest(),
        ]
        assert row["prompt_sha256"] == sha256(b"a hat").hexdigest()
        assert (row["account"], row["key"], row["n"]) == ("one", "one/1", 2)
        assert (row["seed"], row["size"], row["status"]) == (7, [800, 800], "RUNNING")
        assert KEY not in str(books)
        assert "sk-one-more" not in str(books)


async def test_speed_and_latency() -> None:
    """The running time is the latency over the speed; a scripted time is taken as it is."""
    async with region(speed=4) as client:
        quick = await client.submit()
        exact = await client.submit("[sandbox:seconds 3]")
        client.clock.advance(2.5)

        assert await client.status(quick) == "SUCCEEDED"
        assert await client.status(exact) == "RUNNING"
        client.clock.advance(0.5)
        assert await client.status(exact) == "SUCCEEDED"


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        pytest.param(
            {"task": 1, "status": "FAILED", "code": "InternalError.Algo"},
            ["SUCCEEDED", "FAILED"],
            id="failed-by-number",
        ),
        pytest.param({"nth": 1, "status": "CANCELED"}, ["CANCELED", "SUCCEEDED"], id="canceled"),
        pytest.param({"prompt": "hat", "status": "UNKNOWN"}, ["UNKNOWN"] * 2, id="unknown"),
        pytest.param({"images": [0]}, ["FAILED"] * 2, id="only-picture-fails"),
        pytest.param({"seconds": 11}, ["RUNNING"] * 2, id="seconds"),
    ],
)
async def test_scripted_ends(fault: dict[str, Any], statuses: list[str]) -> None:
    """A rule on submit decides how the task ends; the answer of the submit is as ever."""
    async with region() as client:
        await client.fault(on="submit", do="end", **fault)
        tasks = [await client.submit(), await client.submit()]
        client.clock.advance(10)

        assert [await client.status(task_id) for task_id in tasks] == statuses
        assert (await client.books())["images_billed"] == statuses.count("SUCCEEDED")


async def test_faults_of_the_config() -> None:
    """Faults can be set before the region opens."""
    fault = Fault("submit", End("FAILED", "Arrearage"))
    async with region(faults=(fault,)) as client:
        task_id = await client.submit()
        client.clock.advance(10)

        output = (await client.query(task_id))["output"]
        assert output["message"].startswith("Access denied, please make sure")


async def test_prompt_can_refuse() -> None:
    """A prompt can ask to be refused, and no task is made."""
    async with region() as client:
        answer = await client.post(body("[sandbox:refuse DataInspectionFailed]"))

        assert (answer.status_code, answer.json()["code"]) == (400, "DataInspectionFailed")
        assert (await client.books())["tasks_made"] == 0


def of(url: str) -> dict[str, Any]:
    return {**body(), "input": {"prompt": "a hat", "images": [url]}}


async def test_oss_input() -> None:
    """An uploaded picture is taken by its oss URL, with the header that resolves it."""
    async with region() as client:
        table = of(await uploaded_url(client, "a.png"))

        good = await client.post(table, **{"x-dashscope-ossresourceresolve": "enable"})
        bare = await client.post(table)

        assert good.status_code == 200
        assert (bare.status_code, bare.json()["code"]) == (400, "InvalidParameter.DataInspection")
        (row,) = (await client.books())["tasks"]
        assert row["inputs_sha256"] == [sha256(picture()).hexdigest()]


@pytest.mark.parametrize(
    ("key", "model", "age"),
    [
        pytest.param("sk-two", "wan2.5-i2i-preview", 0, id="other-account"),
        pytest.param(KEY, "wan2.6-image", 0, id="other-model"),
        pytest.param(KEY, "wan2.5-i2i-preview", 48 * 3600, id="expired"),
    ],
)
async def test_oss_input_is_bound(key: str, model: str, age: float) -> None:
    """An upload is good for its account and model, for 48 hours."""
    async with region() as client:
        url = await uploaded_url(client, "a.png", model)
        client.clock.advance(age)

        answer = await client.with_key(key).post(
            of(url), **{"x-dashscope-ossresourceresolve": "enable"}
        )

        assert (answer.status_code, answer.json()["message"]) == (400, "oss download error.")
