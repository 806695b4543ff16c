"""Kept pictures over HTTP: signed URLs, ranges, caches, and who may delete what."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.types import Message

from gateway.domain.edit import OutputOptions, ResponseFormat
from gateway.edits.ports import ResultPlace
from gateway.edits.request import EditStatus, KeptResult
from tests.downstream.calls import EDITS, end_with, post
from tests.downstream.harness import (
    FORM,
    KEY,
    RUNNING_STATUS,
    SIGNER,
    EdgeHarness,
    FakeConnection,
    answer,
    request_of,
)
from tests.results.pictures import NAME, OTHERS, PICTURE

pytestmark = pytest.mark.anyio

RESULTS = "/v1/images/results"
DAY = 86_400


@pytest.fixture
def harness(tmp_path: Path) -> EdgeHarness:
    return EdgeHarness(kept_in=tmp_path)


async def keep(harness: EdgeHarness, tenant: str = "acme", index: int = 0) -> str:
    """Keep PICTURE; return the path and query that lead to it."""
    assert harness.keeper is not None
    place = ResultPlace(tenant, NAME.edit_id, 0, index, "png")
    return path_of(await harness.keeper.keep(place, PICTURE))


def path_of(kept: KeptResult) -> str:
    return f"{RESULTS}/{kept.name}?{SIGNER.query(kept.name, kept.expires)}"


async def call(
    harness: EdgeHarness,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
) -> httpx.Response:
    """Call without a key unless one is given: the URL is the permission."""
    async with harness.client(key) as client:
        return await client.request(method, path, headers=headers)


def code_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


# ------------------------------------------------------------ reading


async def test_get(harness: EdgeHarness) -> None:
    """Whoever has the URL gets the picture, its type, and how long it may be kept."""
    reply = await call(harness, await keep(harness))

    assert (reply.status_code, reply.content) == (200, PICTURE)
    headers = reply.headers
    assert headers["content-type"] == "image/png"
    assert headers["content-length"] == str(len(PICTURE))
    assert headers["content-disposition"] == f'inline; filename="{NAME}"'
    assert headers["cache-control"] == f"private, max-age={DAY}, immutable"
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["last-modified"].endswith("GMT")
    assert harness.seen.lines[0].tenant == "acme"
    assert harness.seen.lines[0].route == f"{RESULTS}/{{name}}"


async def test_head(harness: EdgeHarness) -> None:
    """HEAD has the headers of GET and no picture."""
    path = await keep(harness)
    get, head = await call(harness, path), await call(harness, path, "HEAD")

    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "cache-control", "last-modified"):
        assert head.headers[name] == get.headers[name]


async def test_a_cache_does_not_outlive_the_url(harness: EdgeHarness) -> None:
    """Max-age is what is left of the URL's life."""
    path = await keep(harness)
    harness.clock.time += DAY - 60

    reply = await call(harness, path)

    assert reply.headers["cache-control"] == "private, max-age=60, immutable"


@pytest.mark.parametrize(
    ("sent", "status", "part", "content_range"),
    [
        ("bytes=0-9", 206, PICTURE[:10], "bytes 0-9/1024000"),
        ("bytes=1023990-", 206, PICTURE[-10:], "bytes 1023990-1023999/1024000"),
        ("bytes=-10", 206, PICTURE[-10:], "bytes 1023990-1023999/1024000"),
        ("bytes=0-", 200, PICTURE, None),
        ("bytes=0-1,4-5", 200, PICTURE, None),
        ("nonsense", 200, PICTURE, None),
    ],
)
async def test_ranges(
    harness: EdgeHarness, sent: str, status: int, part: bytes, content_range: str | None
) -> None:
    """A download that broke off goes on where it was."""
    reply = await call(harness, await keep(harness), headers={"range": sent})

    assert (reply.status_code, reply.content) == (status, part)
    assert reply.headers.get("content-range") == content_range
    assert reply.headers["content-length"] == str(len(part))


async def test_a_range_behind_the_end(harness: EdgeHarness) -> None:
    """It is 416 in OpenAI's envelope, with the size."""
    reply = await call(harness, await keep(harness), headers={"range": "bytes=1024000-"})

    assert code_of(reply) == (416, "range_not_satisfiable")
    assert reply.headers["content-range"] == "bytes */1024000"


@pytest.mark.parametrize(("same", "status"), [(True, 206), (False, 200)])
async def test_a_range_of_what_was(harness: EdgeHarness, same: bool, status: int) -> None:
    """A part is only sent to who has the rest of these bytes."""
    path = await keep(harness)
    etag = (await call(harness, path, "HEAD")).headers["etag"] if same else '"other"'

    reply = await call(harness, path, headers={"range": "bytes=5-", "if-range": etag})

    assert reply.status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tags", ["{}", "W/{}", '"a", {}', "*"])
async def test_not_modified(harness: EdgeHarness, method: str, tags: str) -> None:
    """Who has the picture does not get it again."""
    path = await keep(harness)
    etag = (await call(harness, path)).headers["etag"]

    reply = await call(harness, path, method, {"if-none-match": tags.format(etag)})

    assert (reply.status_code, reply.content) == (304, b"")
    assert reply.headers["etag"] == etag
    assert (await call(harness, path, headers={"if-none-match": '"b"'})).status_code == 200


# ------------------------------------------------------------ not reading


def tampered(path: str, **changes: str) -> str:
    url = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(url.query).items()} | changes
    return f"{url.path}?{httpx.QueryParams({k: v for k, v in query.items() if v})}"


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": ""},
        {"signature": "0" * 64},
        {"signature": "é"},
        {"expires": "9999999999"},
        {"expires": ""},
        {"expires": "soon"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_wrong_signature(
    harness: EdgeHarness, changes: dict[str, str], method: str
) -> None:
    """Nothing is told of the picture, not even whether there is one."""
    there = tampered(await keep(harness), **changes)
    absent = there.replace("-0-0.png", "-0-7.png")

    replies = [await call(harness, path, method) for path in (there, absent)]

    assert [reply.status_code for reply in replies] == [403, 403]
    if method == "GET":
        assert code_of(replies[0]) == (403, "invalid_signature")
        assert replies[0].json()["error"]["message"] == replies[1].json()["error"]["message"]


async def test_another_pictures_signature(harness: EdgeHarness) -> None:
    """A URL opens one picture: not its neighbour, nor another tenant's."""
    own = await keep(harness)
    await keep(harness, index=1)
    await keep(harness, "globex")
    query = own.partition("?")[2]

    for name in (str(NAME).replace("-0-0.", "-0-1."), str(OTHERS)):
        assert code_of(await call(harness, f"{RESULTS}/{name}?{query}"))[0] == 403


async def test_expired(harness: EdgeHarness) -> None:
    """An expired URL says so and what to do, though the picture is still there."""
    path = await keep(harness)
    harness.clock.time += DAY + 1

    reply = await call(harness, path)

    assert code_of(reply) == (403, "url_expired")
    assert "GET /v1/images/edits/" in reply.json()["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_deleted(harness: EdgeHarness, tmp_path: Path, method: str) -> None:
    """A good URL of a picture that is not there any more is 404."""
    path = await keep(harness)
    (tmp_path / NAME.owner / str(NAME)).unlink()

    assert (await call(harness, path, method)).status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fetc%2fpasswd",
        "..",
        "%2e%2e%2f" + str(NAME),
        str(NAME) + "%00",
        str(NAME).replace(".png", ".txt"),
        "x",
    ],
)
async def test_other_paths(harness: EdgeHarness, name: str) -> None:
    """What is no name of a picture is looked for nowhere."""
    expires = 1_800_000_000
    path = f"{RESULTS}/{name}?{SIGNER.query(name, expires)}"

    assert (await call(harness, path)).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
async def test_nothing_is_listed(harness: EdgeHarness, method: str) -> None:
    """The folder itself can only be emptied."""
    await keep(harness)

    reply = await call(harness, RESULTS, method, key=KEY)

    assert reply.status_code == 405
    assert reply.headers["allow"] == "DELETE, OPTIONS"


async def test_off(tmp_path: Path) -> None:
    """Without [results] the path is as unknown as any."""
    path = await keep(EdgeHarness(kept_in=tmp_path))

    assert code_of(await call(EdgeHarness(), path)) == (404, "unknown_url")


async def test_no_signature_in_the_log(harness: EdgeHarness) -> None:
    """The access log has the name of the picture and no query."""
    path = await keep(harness)
    await call(harness, path)

    assert harness.seen.lines[0].path == path.partition("?")[0]


async def test_a_picture_that_breaks_off(harness: EdgeHarness, tmp_path: Path) -> None:
    """The connection is cut, so that nobody takes a part for the whole."""
    path = await keep(harness)
    wire = FakeConnection()
    wire.on_send = lambda _: os.truncate(tmp_path / NAME.owner / str(NAME), 1)
    url = urlsplit(path)
    scope, _ = request_of(httpx.Request("GET", f"http://gateway{url.path}"))

    await harness.app({**scope, "query_string": url.query.encode()}, wire.receive, wire.send)

    assert wire.sent[-1].get("more_body", True)
    assert harness.seen.lines[0].outcome == "result_store_unavailable"


@pytest.mark.parametrize("how", ["leaves", "stalls"])
async def test_a_reader_that_is_gone(tmp_path: Path, how: str) -> None:
    """Who hangs up, or takes no byte for long, does not keep the picture open."""
    harness = EdgeHarness(kept_in=tmp_path, stall_seconds=0.01)
    url = urlsplit(await keep(harness))
    scope, _ = request_of(httpx.Request("GET", f"http://gateway{url.path}"))
    wire = FakeConnection()
    wire.waits = True
    if how == "leaves":
        wire.hang_up.set()

    async def send(message: Message) -> None:
        await wire.send(message)
        if how == "stalls" and message["type"] == "http.response.body":
            await asyncio.sleep(60)

    await harness.app({**scope, "query_string": url.query.encode()}, wire.receive, send)

    assert len(wire.body) < len(PICTURE)
    assert harness.seen.lines[0].outcome == "customer_left"


# ------------------------------------------------------------ deleting


async def test_delete_one(harness: EdgeHarness) -> None:
    """A tenant deletes its picture by its key; then nobody can fetch it."""
    path = await keep(harness)
    key = KEY

    reply = await call(harness, f"{RESULTS}/{NAME}", "DELETE", key=key)
    again = await call(harness, f"{RESULTS}/{NAME}", "DELETE", key=key)

    assert reply.json() == {"id": str(NAME), "object": "image.result", "deleted": True}
    assert code_of(again) == (404, "result_not_found")
    assert (await call(harness, path)).status_code == 404


async def test_delete_all(harness: EdgeHarness) -> None:
    """A tenant deletes all of its own pictures, and no other's."""
    own = [await keep(harness, index=index) for index in range(3)]
    theirs = await keep(harness, "globex")

    reply = await call(harness, RESULTS, "DELETE", key=KEY)

    assert reply.json() == {"object": "list", "deleted": 3}
    assert [(await call(harness, path)).status_code for path in own] == [404] * 3
    assert (await call(harness, theirs)).status_code == 200


@pytest.mark.parametrize("name", [str(OTHERS), "..", "x.png"])
async def test_delete_what_is_not_ones_own(harness: EdgeHarness, name: str) -> None:
    """Another tenant's picture is as unknown as one that never was, and stays."""
    theirs = await keep(harness, "globex")

    reply = await call(harness, f"{RESULTS}/{name}", "DELETE", key=KEY)

    assert reply.status_code == 404
    assert (await call(harness, theirs)).status_code == 200


@pytest.mark.parametrize("path", [RESULTS, f"{RESULTS}/{NAME}"])
async def test_delete_without_a_key(harness: EdgeHarness, path: str) -> None:
    """The signed URL is for reading alone."""
    query = (await keep(harness)).partition("?")[2]

    assert code_of(await call(harness, f"{path}?{query}", "DELETE")) == (401, "invalid_api_key")


# ------------------------------------------------------------ what answers say

KEPT = KeptResult(str(NAME), 1_700_086_400)
BY_URL = answer(pictures=(), kept=(KEPT,), form=OutputOptions(ResponseFormat.URL))


async def test_an_answer_by_url(harness: EdgeHarness) -> None:
    """The answer has the URL by the config's address, and no picture."""
    end_with(harness, BY_URL)

    reply = await post(harness)

    assert reply.json() == {
        "created": RUNNING_STATUS.created,
        "data": [{"url": f"https://pictures.test{path_of(KEPT)}"}],
        "output_format": "png",
    }
    assert harness.seen.lines[0].results == 1


async def test_a_stream_by_url(harness: EdgeHarness) -> None:
    """A stream has the URL in the place of the picture."""
    end_with(harness, BY_URL)

    reply = await post(harness, data={**FORM, "stream": "true", "response_format": "url"})

    assert reply.status_code == 200, reply.text
    assert f'"url":"https://pictures.test{path_of(KEPT)}"' in reply.text
    assert "event: image_edit.completed" in reply.text
    assert "b64_json" not in reply.text


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("images.example:8443", "images.example:8443"),
        ("[::1]:8080", "[::1]:8080"),
        ("evil.example/x?", "127.0.0.1:9999"),
        ("a b", "127.0.0.1:9999"),
    ],
)
async def test_by_the_host_header(tmp_path: Path, host: str, expected: str) -> None:
    """Only where the config says so; what is no host is replaced by the address connected to."""
    harness = EdgeHarness(kept_in=tmp_path, public_url="host")
    end_with(harness, BY_URL)
    harness.service.waiter.status = EditStatus("edit_1", "beijing", stage="succeeded")
    scope, messages = request_of(
        httpx.Request(
            "GET",
            f"http://gateway{EDITS}/edit_1",
            headers={"authorization": f"Bearer {KEY}", "host": host},
        )
    )
    wire = FakeConnection(*messages)

    await harness.app({**scope, "server": ("127.0.0.1", 9999)}, wire.receive, wire.send)

    assert f'"url":"http://{expected}{path_of(KEPT)}"'.encode() in wire.body


async def test_connected_to_by_ipv6(tmp_path: Path) -> None:
    """An IPv6 address stands in brackets."""
    harness = EdgeHarness(kept_in=tmp_path, public_url="host")
    end_with(harness, BY_URL)
    harness.service.waiter.status = EditStatus("edit_1", "beijing", stage="succeeded")
    headers = {"authorization": f"Bearer {KEY}", "host": "?"}
    request = httpx.Request("GET", f"http://gateway{EDITS}/edit_1", headers=headers)
    scope, messages = request_of(request)
    wire = FakeConnection(*messages)

    await harness.app({**scope, "server": ("::1", 80)}, wire.receive, wire.send)

    assert b'"url":"http://[::1]:80/' in wire.body


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", None),
        ("?response_format=", None),
        ("?response_format=url", ResponseFormat.URL),
        ("?response_format=b64_json&api-version=1", ResponseFormat.B64_JSON),
    ],
)
async def test_a_get_may_ask_for_either(
    harness: EdgeHarness, query: str, expected: ResponseFormat | None
) -> None:
    """GET by the edit's id takes the format from its query."""
    async with harness.client() as client:
        reply = await client.get(f"{EDITS}/edit_1{query}")

    assert reply.status_code == 202
    assert harness.service.wanted == [expected]


async def test_a_get_of_another_format(harness: EdgeHarness) -> None:
    """Any other format is refused by its name."""
    async with harness.client() as client:
        reply = await client.get(f"{EDITS}/edit_1?response_format=gif")

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "response_format"


async def test_a_store_that_fails(harness: EdgeHarness, tmp_path: Path) -> None:
    """It is 503 with what to do, and the operator is told."""
    path = await keep(harness)
    (tmp_path / NAME.owner / str(NAME)).unlink()
    (tmp_path / NAME.owner / str(NAME)).mkdir()

    reply = await call(harness, path)

    assert code_of(reply) == (503, "result_store_unavailable")
    assert reply.headers["x-should-retry"] == "true"
    assert harness.seen.of("store failed") == [("store failed", "open")]
