"""gateway.downstream.connection, over real sockets: what uvicorn alone would let through."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.downstream.connection import Connection
from gateway.downstream.disconnect import ClientLeft, DisconnectWatch
from tests.fast_time import FAST_TIME
from tests.harness import eventually

pytestmark = pytest.mark.anyio

POST = b"POST / HTTP/1.1\r\nhost: x\r\n"
OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
INNER = b"POST /inner HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
SIZED = b"content-length: %d\r\n\r\n" % len(INNER) + INNER
CHUNKED = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)


@dataclass
class Served:
    """A server of a few pages, with one connection to it; what the pages saw."""

    address: tuple[str, int]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def length(self, request: Request) -> Response:
        """Tell the length of what came."""
        self.paths.append(request.url.path)
        self.headers.append(request.headers)
        self.bodies.append(await request.body())
        return Response(str(len(self.bodies[-1])))

    async def waits(self, request: Request) -> Response:
        """Answer when told to, as an edit does; notice when the client leaves."""
        await request.body()
        self.paths.append(request.url.path)
        async with DisconnectWatch(request.receive) as client:
            try:
                await client.unless_left(self.go_on.wait)
            except ClientLeft:
                self.left.append(request.url.path)
        return Response("late")

    async def refuses(self, request: Request) -> Response:
        """Answer without reading the body."""
        self.paths.append(request.url.path)
        return Response("no", 401)

    async def pours(self, request: Request) -> Response:
        """Answer in pieces whose length is not told."""
        self.paths.append(request.url.path)

        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"\n", b"\n", b'{"a": 1}'):
                yield piece

        return StreamingResponse(pieces(), media_type="application/json")

    async def pauses(self, request: Request) -> Response:
        """Begin an answer that never goes on."""

        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"begun"
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.left.append(request.url.path)
                raise

        return StreamingResponse(pieces())

    async def huge(self, request: Request) -> Response:
        """Answer more than any socket's buffer takes."""

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b"x" * 1_000_000

        return StreamingResponse(pieces(), headers={"content-length": "30000000"})

    async def until_left(self) -> None:
        async def left() -> bool:
            return bool(self.left)

        await eventually(left)

    async def until_requested(self) -> None:
        async def was_requested() -> bool:
            return bool(self.paths)

        await eventually(was_requested)


@asynccontextmanager
async def _served(**settings: Any) -> AsyncIterator[Served]:
    served = Served(("", 0), None, None)  # type: ignore[arg-type]  # set below
    app = Starlette(
        routes=[
            Route("/waits", served.waits, methods=["GET", "POST"]),
            Route("/refuses", served.refuses, methods=["POST"]),
            Route("/pours", served.pours),
            Route("/huge", served.huge),
            Route("/pauses", served.pauses),
            Route("/{path:path}", served.length, methods=["GET", "POST"]),
        ]
    )
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, ws="none", **{"http": Connection, **settings}
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup(sockets=[listener])
        served.address = listener.getsockname()
        served.reader, served.writer = await asyncio.open_connection(*served.address)
        try:
            yield served
        finally:
            served.go_on.set()
            served.writer.close()
            await server.shutdown(sockets=[listener])


async def _answers(sent: bytes, *more: bytes) -> tuple[Served, list[bytes]]:
    """What was served of *sent* to one who then has no more to say, and the answers' heads."""
    async with _served() as served:
        for piece in (sent, *more):
            served.writer.write(piece)
            await served.writer.drain()
            await asyncio.sleep(0.01)
        served.writer.write_eof()
        answer = await served.reader.read()
    return served, [it for it in answer.split(b"HTTP/1.1 ") if it and not it.startswith(b"100")]


# ---------------------------------------------------------------- one request stays one


@pytest.mark.parametrize(
    "body", [pytest.param(SIZED, id="sized"), pytest.param(CHUNKED, id="chunked")]
)
@pytest.mark.parametrize(
    "offer",
    [
        pytest.param(OFFER, id="h2c"),
        pytest.param(b"connection: upgrade\r\nupgrade: websocket\r\n", id="websocket"),
        pytest.param(b"upgrade: TLS/1.0, h2c\r\nconnection: keep-alive, upgrade\r\n", id="several"),
        pytest.param(OFFER + b"expect: 100-continue\r\n", id="with-expect"),
        pytest.param(b"connection: upgrade\r\n", id="nothing-offered"),
    ],
)
@pytest.mark.parametrize("cut", [pytest.param(False, id="whole"), pytest.param(True, id="cut")])
async def test_an_offer_to_upgrade_is_ignored(offer: bytes, body: bytes, cut: bool) -> None:
    """The body of a request that offers another protocol is its body, and what follows is next."""
    sent = POST + offer + body + b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n"
    at = sent.index(b"\r\n\r\n") + (4 if cut else 9)

    served, answers = await _answers(sent[:at], sent[at:])

    assert served.paths == ["/", "/next"]
    assert served.bodies == [INNER, b""]
    assert "upgrade" not in served.headers[0]
    assert [it[:3] for it in answers] == [b"200", b"200"]


async def test_an_offer_without_a_body() -> None:
    """A GET that offers a websocket is a GET, however many of them come at once."""
    edit_request = (
        b"GET /%d HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )

    served, answers = await _answers(b"".join(edit_request % number for number in range(5)))

    assert served.paths == ["/0", "/1", "/2", "/3", "/4"]
    assert len(answers) == 5


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n" + INNER, b"405", id="CONNECT"),
        pytest.param(b"CONNECT / HTTP/1.1\r\nhost: a\r\n" + SIZED, b"405", id="CONNECT-body"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER, b"400", id="HTTP/2"),
        pytest.param(b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", b"505", id="2.0"),
        pytest.param(b"GET /\r\n\r\n", b"505", id="0.9"),
        pytest.param(POST + b"content-length: 3\r\n" + CHUNKED, b"400", id="length-and-chunked"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n" + SIZED, b"400", id="and-length"),
        pytest.param(POST + b"content-length: 0\r\n" + SIZED, b"400", id="two-lengths"),
        pytest.param(POST + b"content-length: 3, 3\r\n\r\nabc", b"400", id="list-of-lengths"),
        pytest.param(POST + b"content-length: +3\r\n\r\nabc", b"400", id="signed-length"),
        pytest.param(POST + b"content-length : 3\r\n\r\nabc", b"400", id="space-before-colon"),
        pytest.param(POST + b"content-length: 1\r\n 3\r\n\r\nabc", b"400", id="folded-line"),
        pytest.param(POST + b"x: a\nb: c\r\n\r\n" + INNER, b"400", id="bare-LF"),
        pytest.param(POST + b"x: a\rb: c\r\n\r\n" + INNER, b"400", id="bare-CR"),
        pytest.param(POST + b"x: a\0b\r\n\r\n" + INNER, b"400", id="NUL"),
        pytest.param(
            POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"400", id="gzip"
        ),
        pytest.param(POST + b"transfer-encoding: identity\r\n" + CHUNKED, b"400", id="two-codings"),
        pytest.param(POST + b"transfer-encoding: xchunked\r\n\r\n" + INNER, b"400", id="xchunked"),
        pytest.param(b"POST / HTTP/1.0\r\n" + CHUNKED, b"400", id="chunked-in-1.0"),
        pytest.param(
            POST + OFFER + b"content-length: 3\r\n" + CHUNKED, b"400", id="offer-and-both"
        ),
        pytest.param(POST + b"host: y\r\n\r\n", b"400", id="two-hosts"),
    ],
)
async def test_what_may_be_read_in_two_ways(sent: bytes, status: bytes) -> None:
    """What two parties may frame differently is refused in the envelope, and nothing follows."""
    served, (answer, *rest) = await _answers(sent + INNER)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert (head[:3], rest, served.paths) == (status, [], [])
    assert b"connection: close" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


async def test_nothing_after_the_last_request() -> None:
    """Behind a request that asks to close nothing is served."""
    sent = POST + b"connection: close\r\ncontent-length: 2\r\n\r\nab" + INNER

    served, answers = await _answers(sent)

    assert (served.paths, len(answers)) == (["/"], 1)


async def test_a_trailer_is_not_a_header() -> None:
    """What stands behind a chunked body is not taken for a header of the request."""
    chunks = b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nauthorization: Bearer x\r\n\r\n"

    served, answers = await _answers(POST + chunks)

    assert "authorization" not in served.headers[0]
    assert len(answers) == 1


async def test_a_broken_request_behind_a_good_one() -> None:
    """A refusal is never the answer to the request before: that is answered, and then it ends."""
    async with _served() as served:
        served.writer.write(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n")
        await served.until_requested()
        served.writer.write(b"not HTTP\r\n\r\n" + INNER)
        await asyncio.sleep(0.05)
        served.go_on.set()
        answer = await served.reader.read()

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"late")
    assert served.paths == ["/waits"]


async def test_a_queued_request_whose_body_breaks() -> None:
    """One that waits for its turn and breaks is dropped; those before it are answered."""
    async with _served() as served:
        served.writer.write(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n")
        await served.until_requested()
        served.writer.write(POST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\nxyz\r\n")
        await asyncio.sleep(0.05)
        served.go_on.set()
        answer = await served.reader.read()

    assert answer.count(b"HTTP/1.1 ") == 1
    assert served.paths == ["/waits"]


async def test_a_body_that_breaks() -> None:
    """A chunk that is none is told to its own request."""
    served, (answer,) = await _answers(POST + b"transfer-encoding: chunked\r\n\r\nxyz\r\n" + INNER)

    assert answer.startswith(b"400")
    assert "/inner" not in served.paths


async def test_a_body_that_breaks_after_its_answer_began() -> None:
    """An answer that has begun is cut, not followed by another."""
    async with _served() as served:
        served.writer.write(
            b"GET /huge HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"
        )
        await served.reader.readuntil(b"\r\n\r\n")
        served.writer.write(b"xyz\r\n")
        rest = await served.reader.read()

    assert b"HTTP/1.1" not in rest


async def test_many_requests_at_once() -> None:
    """Those of one connection wait in a short line; beyond it the connection ends."""
    async with _served() as served:
        served.writer.write(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n" * 2000)
        served.go_on.set()
        answer = await served.reader.read()

    assert answer.count(b"HTTP/1.1 200") == 16


async def test_who_leaves_with_a_second_request_under_way() -> None:
    """The first of several requests hears of its client's leaving too."""
    async with _served() as served:
        served.writer.write(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n" * 2)
        await served.until_requested()
        served.writer.transport.abort()
        await served.until_left()

    assert served.left == ["/waits"]


async def test_a_refusal_is_read_while_more_is_sent() -> None:
    """A refusal arrives though its client goes on sending what nobody reads."""
    async with _served() as served:
        served.writer.write(b"not HTTP\r\n\r\n" + b"x" * 3_000_000)
        await served.writer.drain()
        answer = await served.reader.read()

    assert answer.startswith(b"HTTP/1.1 400")


# ---------------------------------------------------------------- heads


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(POST + b"x-more: " + b"a" * 70_000, id="without-an-end"),
        pytest.param(POST + b"x-more: " + b"a" * 70_000 + b"\r\n\r\n", id="in-one-piece"),
        pytest.param(POST + b"x-more: a\r\n" * 7000 + b"\r\n", id="many-lines"),
        pytest.param(POST + b"x: a\r\n" * 300 + b"\r\n", id="too-many-lines"),
        pytest.param(b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * 70_000), id="a-long-path"),
        pytest.param(b"\r\n" * 40_000, id="nothing-but-ends-of-lines"),
        pytest.param(
            POST + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
            id="trailers",
        ),
    ],
)
async def test_a_large_head(sent: bytes) -> None:
    """More than 64 KiB of headers are refused with 431, however they come."""
    async with _served() as served:
        served.writer.write(sent)
        answer = await served.reader.read()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"connection: close" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


async def test_a_chunk_extension_that_never_ends() -> None:
    """What is neither body nor head is bounded too."""
    async with _served() as served:
        served.writer.write(POST + b"transfer-encoding: chunked\r\n\r\n1;")
        await asyncio.sleep(0.01)
        served.writer.write(b"a" * 70_000)
        answer = await served.reader.read()

    assert answer.startswith(b"HTTP/1.1 431 ")


# In time that stands still while the machine does: the first head shall come within it.
@pytest.mark.parametrize("anyio_backend", [FAST_TIME], ids=["fast"])
async def test_a_head_that_comes_too_slowly() -> None:
    """Whoever does not finish a head in time is hung up on, the second head as the first."""

    class ShortHeadTimeout(Connection):
        head_seconds = 4.0

    async with _served(http=ShortHeadTimeout) as served:
        served.writer.write(POST + b"content-length: 2\r\n\r\nab")
        first = await served.reader.readuntil(b"\r\n\r\n2")
        served.writer.write(b"POST / HTTP/1.1\r\n")
        rest = await served.reader.read()
    async with _served(http=ShortHeadTimeout) as served:
        nothing = await served.reader.read()

    assert first.startswith(b"HTTP/1.1 200")
    assert rest == nothing == b""


@pytest.mark.parametrize("anyio_backend", [FAST_TIME], ids=["fast"])
async def test_half_a_head_behind_a_request() -> None:
    """A head that does not come to its end does not cut the answer that is still being made."""

    class OneSecondHeadTimeout(Connection):
        head_seconds = 1.0

    async with _served(http=OneSecondHeadTimeout) as served:
        served.writer.write(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\nGET /half")
        await served.until_requested()
        await asyncio.sleep(3)
        served.go_on.set()
        answer = await served.reader.read()

    assert answer.endswith(b"late")


async def test_no_http_at_all() -> None:
    """What is no HTTP is refused in the envelope too."""
    async with _served() as served:
        served.writer.write(b"\x16\x03\x01 this is TLS\r\n\r\n")
        answer = await served.reader.read()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "invalid_request"


async def test_a_large_body_is_no_large_head() -> None:
    """The limits end with the head."""
    async with _served() as served:
        served.writer.write(POST + b"content-length: 300000\r\n\r\n")
        await asyncio.sleep(0.01)
        served.writer.write(b"a" * 300_000)
        answer = await served.reader.readuntil(b"\r\n\r\n300000")

    assert answer.startswith(b"HTTP/1.1 200")


# ---------------------------------------------------------------- connections that end


@pytest.mark.parametrize("anyio_backend", [FAST_TIME], ids=["fast"])
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        pytest.param(b"/", b"content-length: 2\r\n\r\nab", id="idle"),
        pytest.param(b"/", b"content-length: 2\r\n\r\nab\r\n", id="a-bare-end-of-line"),
        pytest.param(b"/refuses", b"content-length: 9\r\n\r\na", id="one-byte-after-a-401"),
        pytest.param(b"/refuses", b"transfer-encoding: chunked\r\n\r\n9\r\nab", id="half-a-chunk"),
        pytest.param(b"/refuses", b"content-length: 2\r\n\r\nab", id="a-refused-body"),
    ],
)
async def test_who_says_nothing_more(path: bytes, sent: bytes) -> None:
    """After an answer a connection ends in time, whatever half of something comes meanwhile."""
    async with _served(timeout_keep_alive=4) as served:
        served.writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\n" % path + sent[:-1])
        await served.until_requested()
        served.writer.write(sent[-1:])
        async with asyncio.timeout(40):
            answer = await served.reader.read()

    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("anyio_backend", [FAST_TIME], ids=["fast"])
async def test_who_reads_nothing() -> None:
    """A client that takes no byte of its answer is cut off."""

    class ShortStallTimeout(Connection):
        write_stall_seconds = 4.0

    async with _served(http=ShortStallTimeout, timeout_keep_alive=1) as served:
        served.writer.write(b"GET /huge HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        served.reader._transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's
        await asyncio.sleep(12)
        served.reader._transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await served.reader.readexactly(30_000_000)


# ---------------------------------------------------------------- who has finished sending


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_half_closed(version: bytes) -> None:
    """Who shuts its sending side after the request gets the answer, and then the end."""
    async with _served() as served:
        served.writer.write(b"POST / HTTP/%b\r\nhost: x\r\ncontent-length: 2\r\n\r\nab" % version)
        served.writer.write_eof()
        answer = await served.reader.read()

    assert b"HTTP/1.1 200" in answer
    assert answer.endswith(b"\r\n\r\n2")


async def test_half_closed_while_it_takes_long() -> None:
    """The answer comes however long it takes, behind nothing but an interim one."""
    async with _served() as served:
        served.writer.write(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n")
        served.writer.write_eof()
        await served.until_requested()
        await asyncio.sleep(0.6)
        served.go_on.set()
        answer = await served.reader.read()

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert answer.endswith(b"late")
    assert served.left == []


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_who_closes_has_left(version: bytes) -> None:
    """A client that closes its whole connection is noticed, though it looks half-closed."""
    async with _served() as served:
        served.writer.write(b"GET /waits HTTP/%b\r\nhost: x\r\n\r\n" % version)
        await served.until_requested()
        served.writer.close()
        await served.until_left()

    assert served.left == ["/waits"]


async def test_who_closes_has_left_at_once() -> None:
    """The hang-up is known before the next request of the same client is read."""
    async with _served() as served:
        served.writer.write(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n")
        await served.until_requested()
        reader, writer = await asyncio.open_connection(*served.address)
        served.writer.close()
        writer.write(POST + b"content-length: 30000\r\n\r\n" + bytes(30_000))
        await reader.readuntil(b"30000")
        writer.close()

    assert served.left == ["/waits"]


async def test_who_closes_in_a_pause_of_its_answer() -> None:
    """A stream that has begun is over when its client finishes sending."""
    async with _served() as served:
        served.writer.write(b"GET /pauses HTTP/1.1\r\nhost: x\r\n\r\n")
        await served.reader.readuntil(b"begun")
        served.writer.write_eof()
        await served.until_left()

    assert served.left == ["/pauses"]


async def test_half_closed_while_it_is_answered() -> None:
    """An answer of known length that is on its way is not cut."""
    async with _served() as served:
        served.writer.write(b"GET /huge HTTP/1.1\r\nhost: x\r\n\r\n")
        await served.reader.readuntil(b"\r\n\r\n")
        served.writer.write_eof()
        rest = await served.reader.read()

    assert len(rest) == 30_000_000


async def test_half_a_request() -> None:
    """Who shuts its sending side in mid-body cannot be answered."""
    async with _served() as served:
        served.writer.write(POST + b"content-length: 9\r\n\r\nab")
        served.writer.write_eof()
        answer = await served.reader.read()

    assert answer == b""


# ---------------------------------------------------------------- how answers are framed


@pytest.mark.parametrize(
    "headers",
    [pytest.param(b"", id="plain"), pytest.param(b"connection: keep-alive\r\n", id="keep-alive")],
)
async def test_http_1_0_gets_no_chunks(headers: bytes) -> None:
    """An answer of unknown length to HTTP/1.0 ends with the connection."""
    async with _served() as served:
        served.writer.write(b"GET /pours HTTP/1.0\r\n" + headers + b"\r\n")
        answer = await served.reader.read()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b'\n\n{"a": 1}'


async def test_http_1_1_gets_chunks() -> None:
    """The same answer to HTTP/1.1 keeps the connection."""
    async with _served() as served:
        served.writer.write(b"GET /pours HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await served.reader.readuntil(b"0\r\n\r\n")

    assert b"transfer-encoding: chunked" in answer
    assert b"connection: close" not in answer


async def test_refused_without_a_100() -> None:
    """Who waits for a 100 and is refused may send its body or not: the connection ends."""
    async with _served() as served:
        served.writer.write(
            b"POST /refuses HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            b"content-length: 9\r\n\r\n"
        )
        answer = await served.reader.read()

    assert answer.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in answer
