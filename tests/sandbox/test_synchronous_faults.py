"""Synchronous submits that go wrong: failures, scripts, cut connections."""

from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest

from gateway.sandbox import Constant, PeerCut, read_labels
from tests.sandbox.region_client import CONFIG, EPOCH, images, only_row, region, socket_region

pytestmark = pytest.mark.anyio


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
    async with region() as client:
        await client.fault(on="submit", do="end", **{"status": "FAILED", **end})

        answer = await client.synchronous(n=2)

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert set(answer.json()) == {"request_id", "code", "message"}
        assert client.clock.time == 1010
        books = await client.books()
        assert (books["tasks"][0]["status"], books["images_billed"]) == ("FAILED", 0)
        assert books["counts"] == {"submit.faulted": 1, "submit.received": 1}


async def test_words_of_a_failure() -> None:
    """The message is the documented one of the code, or what the script says."""
    async with region() as client:
        documented = await client.synchronous("[sandbox:fail DataInspectionFailed]")
        await client.fault(on="submit", do="end", status="FAILED", message="no")
        response = await client.synchronous()

        assert documented.json()["message"] == "Input data may contain inappropriate content."
        assert response.json()["message"] == "no"


async def test_partial_failure() -> None:
    """Pictures that failed are missing from the answer, and not billed."""
    async with region() as client:
        await client.fault(on="submit", do="end", images=[0, 2])

        answer = await client.synchronous(n=3)

        (url,) = images(answer)
        assert answer.json()["usage"]["image_count"] == 1
        got = await client.http.get(url)
        assert read_labels(got.content)["sandbox-index"] == "1"
        assert (await client.books())["images_billed"] == 1


@pytest.mark.parametrize(
    ("prompt", "status", "tasks"),
    [
        pytest.param("[sandbox:fail InternalError.Algo]", 500, 1, id="fail"),
        pytest.param("[sandbox:refuse Throttling.RateQuota]", 429, 0, id="refuse"),
        pytest.param("[sandbox:partial 0]", 200, 1, id="partial"),
        pytest.param("[sandbox:cancel]", 500, 1, id="cancel"),
        pytest.param("[sandbox:unknown]", 500, 1, id="unknown"),
        pytest.param("[sandbox:dance]", 400, 0, id="no script"),
    ],
)
async def test_scripts_of_the_prompt(prompt: str, status: int, tasks: int) -> None:
    """Outcomes that are written into the prompt come about."""
    async with region() as client:
        answer = await client.synchronous(prompt, n=2)

        assert answer.status_code == status
        assert (await client.books())["tasks_made"] == tasks


async def test_late_checks() -> None:
    """With late checks a bad field is booked as work that failed; the answer is the same."""
    for late in (False, True):
        async with region(late_checks=late) as client:
            answer = await client.synchronous(n=7)

            assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
            assert answer.json()["message"] == "The type or value of n is out of definition."
            assert [row["n"] for row in (await client.books())["tasks"]] == [1] * late


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
    async with region() as client:
        await client.fault(on="submit", **rule)

        assert (await client.synchronous()).status_code == status

        assert client.clock.time == 1000 + seconds
        assert (await client.books())["images_billed"] == billed


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
    async with socket_region() as client:
        await client.fault(on="submit", count=1, **rule)

        with pytest.raises(error):
            await client.synchronous()

        assert client.clock.time == 1000 + seconds
        assert (await client.books())["images_billed"] == billed
        assert (await client.synchronous()).status_code == 200


async def test_late_work() -> None:
    """The connection is cut at once; the work begins as late as the script says, and is billed."""
    async with region() as client:
        await client.fault(on="submit", do="late", seconds=1.5)
        with pytest.raises(PeerCut):
            await client.synchronous()
        assert client.clock.time == 1000

        seen = []
        for _ in range(3):
            seen.append([row["status"] for row in (await client.books())["tasks"]])
            client.clock.advance(6)

        assert seen == [[], ["RUNNING"], ["SUCCEEDED"]]
        assert (await only_row(client))["submit_time"] == pytest.approx(EPOCH + 1.5)


async def test_silence_until_the_peer_leaves() -> None:
    """A call that hangs for good after its work has made what is billed."""
    async with socket_region(replace(CONFIG, latency=Constant(1))) as client:
        await client.fault(on="submit", do="hang", after=True)

        with anyio.move_on_after(0.3) as waited:
            await client.synchronous()

        assert waited.cancelled_caught
        assert (await client.books())["images_billed"] == 1
