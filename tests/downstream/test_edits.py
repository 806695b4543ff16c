import asyncio
import base64
from typing import Any

import httpx
import pytest
from starlette.types import Message

from gateway.domain.edit import AnswerForm, Picture, ResponseFormat, Size
from gateway.domain.errors import (
    InternalError,
    InvalidImage,
    KeyReused,
    RateLimited,
    StillRunning,
    UpstreamFailed,
)
from gateway.domain.tenant import Tenant
from gateway.downstream.body import Limits
from gateway.imaging.workers import Checked
from gateway.journey.ask import Answer, Told
from tests.downstream.house import (
    ACME,
    FILES,
    FORM,
    KEY,
    PNG,
    TOLD,
    FakeVisit,
    House,
    Wire,
    answer,
    passes,
    request_of,
)

pytestmark = pytest.mark.anyio

EDITS = "/v1/images/edits"


async def post(house: House, path: str = EDITS, **kwargs: Any) -> httpx.Response:
    async with house.customer() as customer:
        return await customer.post(path, **{"data": FORM, "files": FILES, **kwargs})


def ending(house: House, outcome: Answer | Exception) -> None:
    async def ends() -> Answer:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    house.desk.visit = FakeVisit(ends)


async def test_an_edit() -> None:
    """A picture comes back as base64 with what is known of its edit, and counts as delivered."""
    house = House(measure=lambda _: Size(1024, 1024))

    reply = await post(house)

    assert reply.status_code == 200
    assert reply.json() == {
        "created": 1_700_000_000,
        "data": [{"b64_json": base64.b64encode(b"one").decode()}],
        "output_format": "png",
        "size": "1024x1024",
    }
    assert {name: reply.headers[name] for name in reply.headers} == {
        "content-type": "application/json",
        "content-length": str(len(reply.content)),
        "x-wan-edit-id": "edit_1",
        "x-wan-region": "beijing",
        "x-wan-task-id": "task-1, task-2",
        "x-wan-upstream-request-id": "up-1",
        "server-timing": "read;dur=250.0, queue;dur=0.0, respond;dur=0.0",
        "x-request-id": reply.headers["x-request-id"],
        "openai-processing-ms": "0",
        "openai-version": "2020-10-01",
    }
    assert house.desk.visit.was_delivered


async def test_what_the_desk_is_asked() -> None:
    """The desk gets the edit, its checked pictures, and how long this customer waits."""
    house = House()

    await post(
        house,
        headers={
            "x-stainless-retry-count": "1",
            "x-stainless-read-timeout": "100",
            "idempotency-key": " mine ",
        },
    )

    ask = house.desk.asks[0]
    assert (ask.tenant, ask.edit.prompt, ask.edit.model) == (ACME, "a hat", "wan2.5-i2i-preview")
    assert house.desk.pictures == [(Picture(content=PNG, media_type="image/png"),)]
    assert (ask.retry_count, ask.idempotency_key, ask.patience) == (1, "mine", 98.0)
    assert len(ask.digest) == 64
    assert house.seen.told("retry") == [("retry", 1)]
    assert house.seen.told("patience") == [("patience", 100.0)]


async def test_pictures_are_not_kept_by_the_door() -> None:
    """Once the desk has an edit, the door holds neither its pictures nor, later, its bytes."""
    house = House()
    held: list[tuple[int, int]] = []

    async def ends() -> Answer:
        held.append((len(house.desk.asks[0].pictures), house.seen.inflight > len(PNG)))
        return answer()

    house.desk.visit = FakeVisit(ends)
    await post(house)

    assert held == [(0, True)]
    assert house.seen.inflight == 0


async def test_bytes_are_counted_as_long_as_they_are_held() -> None:
    """Bytes that the desk still needs stay in the budget when the customer goes."""
    house = House()
    house.desk.keeps = True

    await post(house, headers={"prefer": "respond-async"})
    held = house.seen.inflight
    house.desk.asks[0].release()

    assert held > len(PNG)
    assert house.seen.inflight == 0


async def test_urls_and_pictures_in_order() -> None:
    """URLs in a JSON body go on unread, in their places among the checked pictures."""
    house = House()
    data_url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    images = [
        {"image_url": "https://a.example/1.png"},
        {"image_url": data_url},
        {"image_url": "https://a.example/3.png"},
    ]

    await post(house, data=None, files=None, json={"prompt": "a hat", "images": images})

    (pictures,) = house.desk.pictures
    assert [picture.url or picture.content for picture in pictures] == [
        "https://a.example/1.png",
        PNG,
        "https://a.example/3.png",
    ]


@pytest.mark.parametrize(
    ("given", "headers", "body"),
    [
        pytest.param(
            answer(
                ignored=("quality", "user"),
                adjusted=("1:rotated", "2:alpha_flattened"),
                requested=4,
                pictures=(b"a", b"b", b"c"),
            ),
            {
                "x-wan-ignored-params": "quality, user",
                "x-wan-adjusted": "1:rotated, 2:alpha_flattened",
                "x-wan-images": "requested=4, delivered=3",
            },
            {
                "created": 1_700_000_000,
                "data": [{"b64_json": text} for text in ("YQ==", "Yg==", "Yw==")],
                "output_format": "png",
            },
            id="some-missing",
        ),
        pytest.param(
            answer(
                pictures=(),
                urls=("https://r.example/1.png",),
                replayed=True,
                form=AnswerForm(ResponseFormat.URL),
            ),
            {"idempotent-replayed": "true"},
            {
                "created": 1_700_000_000,
                "data": [{"url": "https://r.example/1.png"}],
                "output_format": "png",
            },
            id="urls-replayed",
        ),
        pytest.param(
            answer(told=Told(edit_id="edit_1", region="beijing")),
            {"x-wan-edit-id": "edit_1", "x-wan-region": "beijing"},
            {
                "created": 1_700_000_600,
                "data": [{"b64_json": "b25l"}],
                "output_format": "png",
            },
            id="nothing-known-of-tasks",
        ),
    ],
)
async def test_answers(given: Answer, headers: dict[str, str], body: dict[str, Any]) -> None:
    """Each kind of good end has its headers and its body, and no header without a value."""
    house = House()
    ending(house, given)

    reply = await post(house)

    told = {
        "x-wan-ignored-params",
        "x-wan-adjusted",
        "x-wan-images",
        "idempotent-replayed",
        "x-wan-task-id",
    }
    told &= {*reply.headers}
    told |= {*headers}
    expected = (
        headers if not given.told.task_ids else {**headers, "x-wan-task-id": "task-1, task-2"}
    )
    assert {name: reply.headers.get(name) for name in told} == expected
    assert reply.json() == body


async def test_pictures_of_different_sizes() -> None:
    """A size is told only where it is true of every picture."""
    house = House(measure=lambda picture: Size(picture[0], 1))
    ending(house, answer(pictures=(b"a", b"b"), requested=2))

    reply = await post(house)

    assert "size" not in reply.json()


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        pytest.param(
            StillRunning("Not yet.", retry_after=3.5),
            503,
            {"x-should-retry": "true", "retry-after": "4", "retry-after-ms": "3500"},
            id="deadline",
        ),
        pytest.param(
            UpstreamFailed("Theirs.", upstream_request_id="up-9", upstream_code="InternalError"),
            500,
            {"x-should-retry": "true", "x-wan-upstream-request-id": "up-9"},
            id="failed",
        ),
        pytest.param(RateLimited("Later."), 429, {"x-should-retry": "true"}, id="line-full"),
    ],
)
async def test_bad_ends(error: Any, status: int, headers: dict[str, str]) -> None:
    """A bad end is refused with what is known of the edit, and is not delivered."""
    house = House()
    error.edit_id = "edit_1"
    ending(house, error)

    reply = await post(house)

    assert reply.status_code == status
    assert reply.json()["error"]["edit_id"] == "edit_1"
    assert {name: reply.headers[name] for name in headers} == headers
    assert reply.headers["x-wan-edit-id"] == "edit_1"
    assert reply.headers["x-wan-task-id"] == "task-1, task-2"
    assert house.seen.lines[0].outcome == error.code
    assert house.seen.lines[0].upstream_code == (error.upstream_code or "")
    assert not house.desk.visit.was_delivered
    assert house.desk.left == 1


async def test_refused_at_the_desk() -> None:
    """What the desk refuses before there is an edit has no edit's headers."""
    house = House()
    house.desk.refusal = KeyReused("This key came with other content.")

    reply = await post(house)

    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert "x-wan-edit-id" not in reply.headers


async def test_picture_against_a_rule() -> None:
    """What the check of pictures refuses reaches the customer, and no desk."""
    house = House()

    async def refuses(contents: Any, tenant: Tenant) -> Checked:
        raise InvalidImage("Image 1 is too small.", param="image")

    house.check = refuses
    reply = await post(house)

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_image_file")
    assert house.desk.asks == []


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        pytest.param(
            {"data": {**FORM, "mask": "https://a.b/m.png"}},
            *(400, "invalid_value", "mask"),
            id="mask",
        ),
        pytest.param(
            {"headers": {"idempotency-key": "k" * 256}}, 400, "invalid_value", None, id="long-key"
        ),
        pytest.param({"data": {}}, 400, "missing_required_parameter", "prompt", id="no-prompt"),
        pytest.param(
            {"data": {**FORM, "model": "dall-e-9"}}, 400, "invalid_value", "model", id="model"
        ),
        pytest.param(
            {"headers": {"authorization": "Bearer sk-no"}}, 401, "invalid_api_key", None, id="key"
        ),
    ],
)
async def test_refused_before_the_desk(
    changes: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    """What can be refused for nothing is refused before the desk hears of it."""
    house = House()

    reply = await post(house, **changes)

    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param)
    assert house.desk.asks == []
    assert house.seen.inflight == 0


async def test_draining() -> None:
    """While draining new edits are refused, and marked retries may still join theirs."""
    house = House()
    house.readiness.draining = True

    new = await post(house)
    retried = await post(house, headers={"x-stainless-retry-count": "1"})

    assert (new.status_code, new.json()["error"]["code"]) == (503, "server_is_draining")
    assert new.headers["retry-after-ms"] == "1000"
    assert retried.status_code == 200


@pytest.mark.parametrize(
    ("headers", "count"),
    [
        pytest.param({}, 0, id="absent"),
        pytest.param({"x-stainless-retry-count": "2"}, 2, id="two"),
        pytest.param({"x-stainless-retry-count": "-1"}, 0, id="negative"),
        pytest.param({"x-stainless-retry-count": "9999"}, 0, id="absurd"),
    ],
)
async def test_retry_count(headers: dict[str, str], count: int) -> None:
    """The mark of a blind repeat is a small number; nonsense is none."""
    house = House()

    await post(house, headers=headers)

    assert house.desk.asks[0].retry_count == count


async def test_respond_async() -> None:
    """Who prefers not to wait gets the way back at once, and the edit goes on."""
    house = House()

    reply = await post(house, headers={"prefer": "wait=5, Respond-Async; x=1"})

    assert reply.status_code == 202
    assert reply.json() == {
        "id": "edit_1",
        "object": "image.edit",
        "status": "running",
        "created": 1_700_000_000,
    }
    assert reply.headers["location"] == "/v1/images/edits/edit_1"
    assert reply.headers["preference-applied"] == "respond-async"
    assert reply.headers["x-wan-edit-id"] == "edit_1"
    assert house.desk.visit.detached
    assert not house.desk.visit.was_delivered


ENDED = Told(edit_id="edit_1", region="beijing", status="succeeded", created=7)


async def test_get_an_ended_edit() -> None:
    """An edit that has ended is answered by its id as it would have been by POST."""
    house = House()
    ending(house, answer())
    house.desk.visit.told = ENDED

    async with house.customer() as customer:
        reply = await customer.get(f"{EDITS}/edit_1")

    assert reply.status_code == 200
    assert reply.json()["data"] == [{"b64_json": "b25l"}]
    assert house.desk.visit.was_delivered


async def test_get_a_running_edit() -> None:
    """An edit that runs is told of with 202."""
    house = House()

    async with house.customer() as customer:
        reply = await customer.get("/images/edits/edit_1/")

    assert (reply.status_code, reply.json()["status"]) == (202, "running")
    assert house.seen.lines[0].told == TOLD
    assert not house.desk.visit.was_delivered


@pytest.mark.parametrize(
    ("told", "status"),
    [pytest.param(TOLD, 202, id="runs"), pytest.param(ENDED, 200, id="ended")],
)
async def test_head_of_an_edit(told: Told, status: int) -> None:
    """HEAD tells how far an edit is; it brings no picture and delivers none."""
    house = House()
    house.desk.visit.told = told

    async with house.customer() as customer:
        reply = await customer.head(f"{EDITS}/edit_1")

    assert (reply.status_code, reply.headers["x-wan-edit-id"]) == (status, "edit_1")
    assert not house.desk.visit.was_delivered


async def test_head_of_a_failed_edit() -> None:
    """HEAD of an edit that failed has the status that GET has."""
    house = House()
    ending(house, UpstreamFailed("Theirs."))
    house.desk.visit.told = Told("edit_1", "beijing", status="failed")

    async with house.customer() as customer:
        reply = await customer.head(f"{EDITS}/edit_1")

    assert reply.status_code == 500


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_unknown_edit(method: str) -> None:
    """Nobody's edit, and another tenant's, is 404."""
    house = House()

    async with house.customer() as customer:
        reply = await customer.request(method, f"{EDITS}/edit_2")

    assert reply.status_code == 404
    assert method == "HEAD" or reply.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("told", "status"),
    [pytest.param(TOLD, 202, id="runs-on"), pytest.param(ENDED, 200, id="ended")],
)
async def test_delete(told: Told, status: int) -> None:
    """An edit called off is told of as it is then."""
    house = House()
    house.desk.visit.told = told

    async with house.customer() as customer:
        reply = await customer.delete(f"{EDITS}/edit_1")

    assert (reply.status_code, reply.json()["status"]) == (status, told.status)
    assert reply.headers["x-wan-edit-id"] == "edit_1"


async def by_hand(house: House, wire: Wire, **kwargs: Any) -> None:
    """Send an edit over *wire*, whose script comes before the body."""
    headers = {"authorization": f"Bearer {KEY}"}
    request = httpx.Request(
        "POST", f"http://gateway{EDITS}", data=FORM, files=FILES, headers=headers
    )
    scope, messages = request_of(request)
    wire.script += kwargs.get("script", messages)
    await house.app(scope, wire.receive, wire.send)


@pytest.mark.parametrize(
    ("status", "place"),
    [
        pytest.param("waiting", "queued", id="queued"),
        pytest.param("submitting", "submitting", id="submitting"),
        pytest.param("running", "polling", id="polling"),
        pytest.param("succeeded", "downloading", id="downloading"),
    ],
)
async def test_customer_leaves_while_waiting(status: str, place: str) -> None:
    """A hang-up ends the wait at once, is counted by its phase, and nothing is answered."""
    house = House()
    wire = Wire()

    async def ends() -> Answer:
        wire.hang_up.set()
        await asyncio.Event().wait()
        raise AssertionError

    house.desk.visit = FakeVisit(ends, told=Told("edit_1", "beijing", status=status))
    await by_hand(house, wire)

    assert house.seen.told("disconnected") == [("disconnected", place)]
    assert house.desk.visit.cancelled
    assert house.desk.left == 1
    assert wire.sent == []
    assert house.seen.told("ended")[0][3] == 499
    assert house.seen.lines[0].outcome == "customer_left"
    assert house.seen.inflight == 0


async def test_customer_leaves_while_reading() -> None:
    """A hang-up in the middle of the body never comes to the desk."""
    house = House()
    script: list[Message] = [
        {"type": "http.request", "body": b"--x", "more_body": True},
        {"type": "http.disconnect"},
    ]

    await by_hand(house, wire := Wire(), script=script)

    assert house.seen.told("disconnected") == [("disconnected", "reading")]
    assert (house.desk.asks, wire.sent, house.seen.inflight) == ([], [], 0)


@pytest.mark.parametrize(
    ("nth", "waits", "sent"),
    [
        pytest.param(1, True, 2, id="after-the-head"),
        pytest.param(3, True, 3, id="in-the-body"),
        pytest.param(5, False, 5, id="at-the-end"),
    ],
)
async def test_customer_leaves_while_writing(nth: int, waits: bool, sent: int) -> None:
    """A picture whose bytes did not all reach the socket is not delivered."""
    house = House()
    wire = Wire()
    ending(house, answer())

    def cut(message: Message) -> None:
        if len(wire.sent) >= nth:
            wire.hang_up.set()

    wire.on_send, wire.waits = cut, waits
    await by_hand(house, wire)

    assert not house.desk.visit.was_delivered
    assert house.seen.told("disconnected") == [("disconnected", "writing")]
    assert len(wire.sent) == sent
    assert wire.sent[-1]["more_body"]
    assert house.desk.left == 1


async def test_the_end_comes_after_delivered() -> None:
    """Delivered is said between the last byte and the end of the message."""
    house = House()
    wire = Wire()
    order: list[Any] = []
    ending(house, answer())
    visit = house.desk.visit
    wire.on_send = lambda m: order.append((m.get("more_body"), visit.was_delivered))

    await by_hand(house, wire)

    assert order[-2:] == [(True, False), (False, True)]
    assert wire.sent[-2]["body"] == b""
    assert int(wire.headers["content-length"]) == len(wire.body)


async def test_a_bug_after_the_first_byte() -> None:
    """Once an answer has begun, a bug cuts it: no end of message, a line with its place."""
    house = House()
    wire = Wire()
    ending(house, answer())

    async def breaks() -> None:
        raise ValueError(FORM["prompt"])

    house.desk.visit.delivered = breaks  # type: ignore[method-assign]  # a visit with a bug
    await by_hand(house, wire)

    assert wire.sent[-1]["more_body"]
    assert house.seen.lines[0].outcome == InternalError.code
    assert "ValueError" in house.seen.lines[0].bug
    assert FORM["prompt"] not in house.seen.lines[0].bug


async def test_too_large_by_content_length() -> None:
    """A body that is announced too large is refused before a byte of it is read."""
    house = House(limits=Limits(max_body_bytes=100))
    wire = Wire()
    unread: list[int] = []
    wire.on_send = lambda _: unread.append(len(wire.script))

    await by_hand(house, wire)

    assert unread[0] == 1
    assert (wire.sent[0]["status"], wire.headers["connection"]) == (413, "close")
    assert house.seen.lines[0].outcome == "request_too_large"


async def test_no_memory_by_content_length() -> None:
    """A body for which there is no memory is refused before a byte of it is read."""
    house = House(most_bytes=100)
    wire = Wire()

    await by_hand(house, wire)

    assert wire.sent[0]["status"] == 503
    assert wire.script != []


async def test_overhead() -> None:
    """Our own share is what passes between the body and the desk, and before the first byte."""
    house = House()

    async def slow(contents: Any, tenant: Tenant) -> Checked:
        await house.clock.sleep(0.5)
        return Checked((Picture(content=PNG),), (("alpha_flattened",),))

    async def ends() -> Answer:
        await house.clock.sleep(40)
        return answer()

    house.check, house.desk.visit = slow, FakeVisit(ends)
    await post(house)

    assert house.seen.told("overhead") == [("overhead", EDITS, 0.5)]
    assert house.desk.asks[0].edit.adjusted == ("1:alpha_flattened",)


async def test_customer_leaves_while_pictures_are_checked() -> None:
    """One who left after the last byte of the body begins no edit: its retry may be there first."""
    house = House()
    wire = Wire()

    async def slow(contents: Any, tenant: Tenant) -> Checked:
        wire.hang_up.set()
        return await passes(contents, tenant)

    house.check = slow
    await by_hand(house, wire)

    assert house.desk.asks == []
    assert house.seen.told("disconnected") == [("disconnected", "reading")]
    assert house.seen.inflight == 0
