"""POST /v1/images/edits: what the service is asked, and how a good end is answered."""

import base64
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.middleware import Middleware

from gateway.domain.edit import OutputOptions, Picture, ResponseFormat, Size
from gateway.domain.tenant import Tenant
from gateway.edits.request import EditResult, EditStatus
from tests.downstream.calls import EDITS, end_with, post
from tests.downstream.harness import ACME, FORM, PNG, EdgeHarness, FakeWaiter, Marks, answer

pytestmark = pytest.mark.anyio


async def test_an_edit() -> None:
    """A picture comes back as base64 with what is known of its edit, and counts as delivered."""
    harness = EdgeHarness(measure=lambda _: Size(1024, 1024))

    reply = await post(harness)

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
    assert harness.service.waiter.was_delivered


async def test_what_the_desk_is_asked() -> None:
    """The service gets the edit, its checked pictures, and how long this client waits."""
    harness = EdgeHarness()

    await post(
        harness,
        headers={
            "x-stainless-retry-count": "1",
            "x-stainless-read-timeout": "100",
            "idempotency-key": " mine ",
        },
    )

    edit_request = harness.service.edit_requests[0]
    assert (edit_request.tenant, edit_request.edit.prompt, edit_request.edit.model) == (
        ACME,
        "a hat",
        "wan2.5-i2i-preview",
    )
    assert harness.service.pictures == [(Picture(content=PNG, media_type="image/png"),)]
    assert (edit_request.retry_count, edit_request.idempotency_key, edit_request.patience) == (
        1,
        "mine",
        98.0,
    )
    assert len(edit_request.digest) == 66
    assert harness.seen.of("retry") == [("retry", 1)]
    assert harness.seen.of("patience") == [("patience", 100.0)]


async def test_of_another_node() -> None:
    """What its client has waited there is off its patience, and the edit has its name of there."""
    harness = EdgeHarness()
    harness.app.user_middleware.append(
        Middleware(Marks, edit_id="edit_7", repeats=True, waited=40.0)
    )

    await post(harness, headers={"x-stainless-read-timeout": "100"})

    edit_request = harness.service.edit_requests[0]
    assert (edit_request.edit_id, edit_request.repeats) == ("edit_7", True)
    assert edit_request.patience == 58.0
    assert edit_request.waited == 40.0


async def test_the_dashboard_hears_of_each_edit() -> None:
    """Whoever wants to show edits gets the id and the first picture of each, as it was checked."""
    created: list[tuple[str, bytes]] = []
    harness = EdgeHarness(on_created=lambda edit_id, picture: created.append((edit_id, picture)))

    await post(harness)
    await post(harness, "/v1/images/generations", data=None, files=None, json={"prompt": "a cat"})

    assert created == [("edit_1", PNG), ("edit_1", b"")]


async def test_pictures_are_not_kept_by_the_door() -> None:
    """Once the service has an edit, the door holds neither its pictures nor, later, its bytes."""
    harness = EdgeHarness()
    held: list[tuple[int, int]] = []

    async def ends() -> EditResult:
        held.append(
            (len(harness.service.edit_requests[0].pictures), harness.seen.inflight > len(PNG))
        )
        return answer()

    harness.service.waiter = FakeWaiter(ends)
    await post(harness)

    assert held == [(0, True)]
    assert harness.seen.inflight == 0


async def test_bytes_are_counted_as_long_as_they_are_held() -> None:
    """Bytes that the service still needs stay in the budget when the client goes."""
    harness = EdgeHarness()
    harness.service.keeps = True

    await post(harness, headers={"prefer": "respond-async"})
    held = harness.seen.inflight
    harness.service.edit_requests[0].release()

    assert held > len(PNG)
    assert harness.seen.inflight == 0


async def test_content_is_the_bytes_as_sent() -> None:
    """A file, raw text and a data URL of it are one content, whatever is made of them here."""
    digests, formerly = set(), []
    for made in (PNG, b"redrawn"):
        harness = EdgeHarness()

        async def check(
            pictures: Sequence[Picture], tenant: Tenant, made: bytes = made
        ) -> tuple[Picture, ...]:
            return tuple(Picture(content=made) for _ in pictures)

        harness.check = check
        url = "data:image/png;base64," + base64.b64encode(PNG).decode()
        await post(harness)
        await post(harness, data={**FORM, "image": url}, files=None)
        await post(harness, data=None, files=None, json={**FORM, "images": [{"image_url": url}]})
        digests |= {edit_request.digest for edit_request in harness.service.edit_requests}
        formerly.append(harness.service.edit_requests[0].earlier_digests)

    assert len(digests) == 1
    assert [len(digests) for digests in formerly] == [1, 2]
    assert formerly[0] < formerly[1]


async def test_urls_and_pictures_in_order() -> None:
    """URLs in a JSON body go on unread, in their places among the checked pictures."""
    harness = EdgeHarness()
    data_url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    images = [
        {"image_url": "https://a.example/1.png"},
        {"image_url": data_url},
        {"image_url": "https://a.example/3.png"},
    ]

    await post(harness, data=None, files=None, json={"prompt": "a hat", "images": images})

    (pictures,) = harness.service.pictures
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
                form=OutputOptions(ResponseFormat.URL),
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
            answer(status=EditStatus(edit_id="edit_1", region="beijing")),
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
async def test_answers(given: EditResult, headers: dict[str, str], body: dict[str, Any]) -> None:
    """Each kind of good end has its headers and its body, and no header without a value."""
    harness = EdgeHarness()
    end_with(harness, given)

    reply = await post(harness)

    names = {
        "x-wan-ignored-params",
        "x-wan-adjusted",
        "x-wan-images",
        "idempotent-replayed",
        "x-wan-task-id",
    }
    names &= {*reply.headers}
    names |= {*headers}
    expected = (
        headers if not given.status.task_ids else {**headers, "x-wan-task-id": "task-1, task-2"}
    )
    assert {name: reply.headers.get(name) for name in names} == expected
    assert reply.json() == body


async def test_pictures_of_different_sizes() -> None:
    """A size is told only where it is true of every picture."""
    harness = EdgeHarness(measure=lambda picture: Size(picture[0], 1))
    end_with(harness, answer(pictures=(b"a", b"b"), requested=2))

    reply = await post(harness)

    assert "size" not in reply.json()


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
    harness = EdgeHarness()

    await post(harness, headers=headers)

    assert harness.service.edit_requests[0].retry_count == count


async def test_respond_async() -> None:
    """Who prefers not to wait gets the way back at once, and the edit goes on."""
    harness = EdgeHarness()

    reply = await post(harness, headers={"prefer": "wait=5, Respond-Async; x=1"})

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
    assert harness.service.edit_requests[0].promise
    assert not harness.service.waiter.was_delivered


async def test_overhead() -> None:
    """Our own share is what passes between the body and the service, and before the first byte."""
    harness = EdgeHarness()

    async def slow(pictures: Any, tenant: Tenant) -> tuple[Picture, ...]:
        await harness.clock.sleep(0.5)
        return (Picture(content=PNG, adjusted=("alpha_flattened",)),)

    async def ends() -> EditResult:
        await harness.clock.sleep(40)
        return answer()

    harness.check, harness.service.waiter = slow, FakeWaiter(ends)
    await post(harness)

    assert harness.seen.of("overhead") == [("overhead", EDITS, 0.5)]
    assert harness.service.edit_requests[0].edit.adjusted == ("1:alpha_flattened",)
