import gzip
import json
import zlib
from base64 import b64encode
from collections.abc import Callable

import httpx
import pytest
from starlette.types import Message

from gateway.domain.errors import InvalidRequest, UnsupportedCoding
from gateway.downstream.body import MOST_PIECE_BYTES, decoded
from tests.downstream.harness import FILES, FORM, PNG, EdgeHarness, limits_of

pytestmark = pytest.mark.anyio

EDITS = "/v1/images/edits"
JSON = json.dumps(
    {
        "prompt": "a hat",
        "images": [{"image_url": f"data:image/png;base64,{b64encode(PNG).decode()}"}],
    }
).encode()
CODINGS = [
    pytest.param("gzip", gzip.compress, id="gzip"),
    pytest.param("X-GZIP", gzip.compress, id="an older name"),
    pytest.param("deflate", zlib.compress, id="deflate"),
    pytest.param("identity", bytes, id="identity"),
    pytest.param("identity, gzip", gzip.compress, id="identity and gzip"),
    pytest.param("", bytes, id="nothing"),
]


class _Body:
    """A body that comes in pieces of *size*, with an end of its own message."""

    def __init__(self, body: bytes, size: int = 7) -> None:
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        self.messages: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
        ]
        self.messages.append({"type": "http.request"})

    async def receive(self) -> Message:
        return self.messages.pop(0) if self.messages else {"type": "http.disconnect"}


async def _read(body: _Body, coding: str) -> list[bytes]:
    receive = decoded(body.receive, {"content-encoding": coding})
    pieces: list[bytes] = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return pieces


@pytest.mark.parametrize(("coding", "code"), CODINGS)
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_compressed_body(coding: str, code: Callable[[bytes], bytes], size: int) -> None:
    """Whatever pieces it comes in, what is handed on is the body before it was compressed."""
    assert b"".join(await _read(_Body(code(JSON), size), coding)) == JSON


async def test_several_members() -> None:
    """gzip's members one behind the other are one body."""
    body = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")

    assert b"".join(await _read(_Body(body), "gzip")) == b"onetwo"


@pytest.mark.parametrize("size", [1000, 10_000_000])
async def test_pieces_are_bounded(size: int) -> None:
    """However much comes out of few bytes, it comes in pieces that can be counted."""
    whole = bytes(10 * MOST_PIECE_BYTES)

    pieces = await _read(_Body(gzip.compress(whole), size), "gzip")

    assert b"".join(pieces) == whole
    assert max(map(len, pieces)) == MOST_PIECE_BYTES


async def test_a_hang_up_is_passed_on() -> None:
    """Who leaves in the middle of a body is noticed."""
    body = _Body(b"")
    body.messages.clear()

    message = await decoded(body.receive, {"content-encoding": "gzip"})()

    assert message["type"] == "http.disconnect"


@pytest.mark.parametrize(
    ("coding", "body", "says"),
    [
        pytest.param("gzip", JSON, "is not what", id="not gzip"),
        pytest.param("deflate", gzip.compress(JSON), "is not what", id="gzip, not deflate"),
        pytest.param("gzip", gzip.compress(JSON)[:-20], "ends before", id="cut short"),
        pytest.param("gzip", gzip.compress(JSON)[:-8] + bytes(8), "is not what", id="a wrong sum"),
        pytest.param("gzip", gzip.compress(JSON) + b"{}", "is not what", id="more behind it"),
    ],
)
async def test_a_broken_body(coding: str, body: bytes, says: str) -> None:
    """What is not compressed as it says is refused with what is wrong."""
    with pytest.raises(InvalidRequest, match=says):
        await _read(_Body(body, 100_000), coding)


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "\xff"]
)
def test_other_codings(coding: str) -> None:
    """Any other coding, and more than one, is refused by the header's name."""
    with pytest.raises(UnsupportedCoding, match="'Content-Encoding: "):
        decoded(_Body(b"").receive, {"content-encoding": coding})


@pytest.mark.parametrize(("coding", "code"), CODINGS)
async def test_an_edit(coding: str, code: Callable[[bytes], bytes]) -> None:
    """A compressed form and compressed JSON make the edit that they say."""
    harness = EdgeHarness()
    form = httpx.Request("POST", "http://gateway", data=FORM, files=FILES)
    async with harness.client() as client:
        for body, kind in ((form.read(), form.headers["content-type"]), (JSON, "application/json")):
            headers = {"content-type": kind, "content-encoding": coding}
            reply = await client.post(EDITS, content=code(body), headers=headers)
            assert reply.status_code == 200, reply.text

    assert [edit_request.edit.prompt for edit_request in harness.service.edit_requests] == [
        "a hat",
        "a hat",
    ]
    assert [pictures[0].content for pictures in harness.service.pictures] == [PNG, PNG]


async def test_another_coding_by_http() -> None:
    """The refusal is 415 in the envelope, and tells what would be read."""
    async with EdgeHarness().client() as client:
        headers = {"content-type": "application/json", "content-encoding": "br"}
        reply = await client.post(EDITS, content=JSON, headers=headers)

    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (415, "unsupported_content_encoding")
    assert "Content-Encoding: br" in error["message"]
    assert reply.headers["accept-encoding"] == "gzip, deflate"
    assert reply.headers["x-should-retry"] == "false"


async def test_a_bomb() -> None:
    """The limits hold for what comes out: a small body that becomes a large one is 413."""
    harness = EdgeHarness(limits=limits_of(max_body_bytes=100_000))
    bomb = gzip.compress(bytes(50_000_000))
    async with harness.client() as client:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        reply = await client.post(EDITS, content=bomb, headers=headers)

    assert len(bomb) < 100_000
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")
    assert harness.budget.held == 0
