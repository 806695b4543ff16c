"""Two nodes, one of which owns the tenant: what a client of the other one gets, and when."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import Send

from gateway.cluster.owners import Here, Nobody, Peer
from tests.cluster.nodes import (
    EDITS,
    KEY,
    SECRET,
    Called,
    begin,
    more,
    node,
    replies,
    scripted,
    until,
    writes,
)
from tests.cluster.nodes import head as head_of

pytestmark = pytest.mark.anyio

BODY = b'{"prompt":"a hat"}'


async def test_owned_here() -> None:
    """The handler gets the request as it came, with a name for its edit."""
    async with node(script=replies(200, b'{"a":1}')) as a, a.client() as client:
        answer = await client.post(EDITS, content=BODY)

    (call,) = a.handler.calls
    assert (answer.status_code, answer.content, call.body) == (200, b'{"a":1}', BODY)
    assert call.record.edit_id.startswith("edit_")
    assert (call.record.via, call.record.repeats, call.record.waited) == ("", False, 0.0)
    assert [what[:4] for what in a.seen.of("ended")] == [("ended", EDITS, "POST", 200)]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_by_id_here(method: str) -> None:
    """What is asked of a known edit is answered by the handler."""
    async with node(script=replies(202, b"{}")) as a, a.client() as client:
        answer = await client.request(method, f"{EDITS}/edit_1")

    assert (answer.status_code, answer.headers["content-length"]) == (202, "2")
    assert a.handler.calls[0].record.edit_id == ""


async def test_the_client_of_the_owner_leaves() -> None:
    """The handler sees it."""

    async def script(call: Called, send: Send) -> None:
        await call.left.wait()

    async with node(script=script) as a:
        _, writer = await asyncio.open_connection("127.0.0.1", a.port)
        writer.write(_request(BODY))
        await until(lambda: bool(a.handler.calls))
        writer.close()
        async with asyncio.timeout(5):
            await a.handler.calls[0].left.wait()


async def test_passed_on() -> None:
    """The owner gets the same request, and the client the owner's answer."""
    async with (
        node("b", script=replies(200, b'{"a":1}', x_wan_edit_id="edit_1")) as b,
        node("a", b.as_peer) as a,
        a.client() as client,
    ):
        answer = await client.post(
            f"{EDITS}?x=%2F&y",
            content=BODY,
            headers=[(b"idempotency-key", b"caf\xe9")],
        )

    (call,) = b.handler.calls
    assert a.handler.calls == []
    assert (answer.status_code, answer.content, call.body) == (200, b'{"a":1}', BODY)
    assert answer.headers["x-wan-edit-id"] == "edit_1"
    assert call.headers["idempotency-key"] == "caf\xe9"
    assert call.headers["host"] == f"127.0.0.1:{a.port}"
    assert call.headers["content-length"] == str(len(BODY))
    assert call.record.via == "a"
    assert call.record.edit_id.startswith("edit_")
    assert not call.record.repeats
    assert 0 <= call.record.waited < 5


async def test_one_request_in_the_logs_and_metrics() -> None:
    """Both nodes have a line with the same request id; the client's node counts."""
    async with (
        node("b", script=replies(400, b'{"error":{}}')) as b,
        node("a", b.as_peer) as a,
        a.client() as client,
    ):
        answer = await client.post(EDITS, content=BODY)

    (here,), (there,) = a.seen.lines, b.seen.lines
    assert here.request_id == there.request_id == answer.headers["x-request-id"]
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert len(answer.headers.get_list("openai-processing-ms")) == 1
    assert len(answer.headers.get_list("date")) == 1
    assert (here.owner, here.via, there.owner, there.via) == ("b", "", "", "a")
    assert (here.status, here.tenant, here.body_in) == (400, "acme", len(BODY))
    assert here.outcome == there.outcome == "ok"
    assert len(a.seen.of("ended")) == 1
    assert b.seen.of("ended") == b.seen.of("started") == []
    assert not [name for name in answer.headers if name.startswith("x-wan-node")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_by_id(method: str) -> None:
    """What is asked of a known edit is answered by its owner, wherever it is asked."""
    async with (
        node("b", script=replies(202, b'{"id":"edit_1"}')) as b,
        node("a", b.as_peer) as a,
        a.client() as client,
    ):
        answer = await client.request(method, f"{EDITS}/edit_1")

    assert answer.status_code == 202
    assert answer.headers["content-length"] == "15"
    assert answer.content == (b"" if method == "HEAD" else b'{"id":"edit_1"}')
    (call,) = b.handler.calls
    assert (call.record.edit_id, call.record.method) == ("", method)
    assert call.headers.get("content-length", "0") == "0"
    assert "transfer-encoding" not in call.headers


async def test_an_unknown_key() -> None:
    """Whoever has no key is refused at the first node that it asks."""
    async with node("b") as b, node("a", b.as_peer) as a, a.client() as client:
        answer = await client.post(EDITS, content=BODY, headers={"authorization": "Bearer no"})

    assert answer.status_code == 401
    assert (b.handler.calls, b.seen.lines) == ([], [])


async def test_events_pass_as_they_come() -> None:
    """A heartbeat reaches the client before the picture is made."""
    heard = asyncio.Event()

    async def script(call: Called, send: Send) -> None:
        await begin(send, 200, "text/event-stream", x_wan_edit_id="edit_1")
        await more(send, b": keep-alive\n\n")
        await heard.wait()
        await more(send, b"event: x\ndata: {}\n\n")
        await send({"type": "http.response.body"})

    async with (
        node("b", script=script) as b,
        node("a", b.as_peer) as a,
        a.client() as client,
        client.stream("POST", EDITS, content=BODY) as answer,
    ):
        pieces = answer.aiter_raw()
        first = await anext(pieces)
        heard.set()
        rest = b"".join([piece async for piece in pieces])

    assert answer.headers["content-type"] == "text/event-stream"
    assert first + rest == b": keep-alive\n\nevent: x\ndata: {}\n\n"


async def test_the_client_leaves() -> None:
    """The owner sees it as if the client had been connected to it."""

    async def script(call: Called, send: Send) -> None:
        await call.left.wait()

    async with node("b", script=script) as b, node("a", b.as_peer) as a:
        _, writer = await asyncio.open_connection("127.0.0.1", a.port)
        writer.write(_request(BODY))
        await until(lambda: bool(b.handler.calls))
        writer.close()
        async with asyncio.timeout(5):
            await b.handler.calls[0].left.wait()
        await until(lambda: bool(a.seen.lines))

    assert (a.seen.lines[0].outcome, a.seen.lines[0].status) == ("customer_left", 0)


async def test_the_client_leaves_before_its_body_is_there() -> None:
    """It is counted where it was connected, and no owner hears of it."""
    async with node("b") as b, node("a", b.as_peer) as a:
        _, writer = await asyncio.open_connection("127.0.0.1", a.port)
        writer.write(_request(BODY)[:-5])
        await asyncio.sleep(0.05)
        writer.close()
        await until(lambda: bool(a.seen.lines))

    assert a.seen.of("disconnected") == [("disconnected", "reading")]
    assert b.handler.calls == []


async def test_a_client_that_waits_to_send() -> None:
    """Expect: 100-continue is answered by the client's own node, and does not travel."""
    async with node("b") as b, node("a", b.as_peer) as a:
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
        head, _, _ = _request(BODY).partition(b"\r\n\r\n")
        writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        writer.close()

    assert b.handler.calls[0].body == BODY
    assert "expect" not in b.handler.calls[0].headers


async def test_a_client_of_http_1_0() -> None:
    """It gets its answer without chunks, though the owner sends chunks."""

    async def script(call: Called, send: Send) -> None:
        await begin(send, 200, "text/event-stream")
        await more(send, b"event: x\n\n")
        await send({"type": "http.response.body"})

    async with node("b", script=script) as b, node("a", b.as_peer) as a:
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
        writer.write(_request(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = await reader.read()
        writer.close()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"event: x\n\n"


async def test_a_body_in_chunks() -> None:
    """It is framed by its length from there on: one framing for all nodes."""
    pieces = [b"{", b'"prompt":', b'"a hat"}']

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async with node("b") as b, node("a", b.as_peer) as a, a.client() as client:
        await client.post(EDITS, content=body())

    (call,) = b.handler.calls
    assert call.body == b"".join(pieces)
    assert call.headers["content-length"] == str(len(call.body))
    assert "transfer-encoding" not in call.headers


async def test_headers_of_one_hop_stay() -> None:
    """Neither what Connection names, nor what belongs to a hop, travels; the rest does."""
    async with (
        scripted(writes(head_of("200 OK", "Content-Length: 2"), b"{}")) as owner,
        node("a", owner.as_peer) as a,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
        head, _, _ = _request(BODY).partition(b"\r\n\r\n")
        lines = [
            b"Connection: x-own, X-Wan-Node-Secret, content-type",
            b"X-Own: 1",
            b"Keep-Alive: timeout=5",
            b"TE: trailers",
            b"Proxy-Authorization: Basic YTpi",
            b"X-Kept: 2",
            b"X-Request-Id: mine",
        ]
        writer.write(b"\r\n".join([head, *lines, b"", b""]) + BODY)
        await reader.readuntil(b"{}")
        writer.close()

    (received,) = owner.requests
    names = {name.lower() for name in received.headers}
    assert not names & {"x-own", "keep-alive", "te", "proxy-authorization", "connection"}
    assert "content-type" not in names
    assert received.headers["x-wan-node-secret"] == SECRET
    assert (received.headers["x-kept"], received.headers["x-request-id"]) == ("2", "mine")
    assert received.body == BODY


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"x-wan-node-secret": "guess", "x-wan-node-request": "{}"}, id="guessed"),
        pytest.param({"x-wan-node-request": '{"node":"a"}'}, id="without"),
        pytest.param({"x-wan-node-secret": SECRET, "x-wan-node-request": "[]"}, id="not-read"),
        pytest.param({"x-wan-node-secret": SECRET}, id="nothing-said"),
        pytest.param(
            {
                "x-wan-node-secret": SECRET,
                "x-wan-node-request": '{"node":"a","edit_id":"","repeats":false,"age":"nan",'
                '"waited":0}',
            },
            id="not-a-number",
        ),
    ],
)
async def test_a_forged_node(headers: dict[str, str]) -> None:
    """Who does not know the secret, or says nothing readable, says nothing for another."""
    async with node("a") as a, a.client() as client:
        answer = await client.post(EDITS, content=BODY, headers=headers)

    assert (answer.status_code, a.handler.calls) == (421, [])
    assert a.seen.lines[0].outcome == "misdirected"


async def test_the_secret_twice() -> None:
    """A header that comes twice could be read in two ways: it is not read."""
    async with node("a") as a, a.client() as client:
        twice = [("x-wan-node-secret", SECRET), ("x-wan-node-secret", SECRET)]
        answer = await client.post(EDITS, content=BODY, headers=twice)

    assert answer.status_code == 421


async def test_one_hop() -> None:
    """What one node passed on no other passes on again, whoever owns the tenant by then."""
    stated = '{"node":"c","edit_id":"edit_1","repeats":false,"age":1,"waited":0.5}'
    headers = {"x-wan-node-secret": SECRET, "x-wan-node-request": stated}
    async with node("b") as b, node("a", b.as_peer) as a, a.client() as client:
        answer = await client.post(EDITS, content=BODY, headers=headers)

    assert (answer.status_code, b.seen.lines) == (421, [])


async def test_cors_is_the_first_nodes() -> None:
    """A page reads the answer by the rules of the node that it asked, told once."""
    origins = ("https://app.example",)
    async with (
        node("b", origins=origins) as b,
        node("a", b.as_peer, origins=origins) as a,
        a.client() as client,
    ):
        answer = await client.post(EDITS, content=BODY, headers={"origin": origins[0]})

    assert answer.headers.get_list("access-control-allow-origin") == [origins[0]]
    assert answer.headers.get_list("vary") == ["Origin"]


async def test_large_bodies_lie_in_files(tmp_path: Path) -> None:
    """Of 64 MiB, no more than the memory for them is held while the owner answers."""
    body = b"x" * 2**26
    held: list[int] = []

    async def script(call: Called, send: Send) -> None:
        held.append(a.door.budget.held)
        await replies(200, b"{}")(call, send)

    async with (
        node("b", script=script) as b,
        node("a", b.as_peer, folder=tmp_path, memory=2**20) as a,
        a.client() as client,
    ):
        answer = await client.post(EDITS, content=body)

    assert answer.status_code == 200
    assert b.handler.calls[0].body == body
    assert held == [0]
    assert a.seen.inflight == 0
    assert a.door.buffers.free == 2**20
    assert _is_empty(tmp_path)


async def test_a_body_that_is_too_large() -> None:
    """It is refused where it came, by its announced length or on its way."""
    async with node("b") as b, node("a", b.as_peer) as a, a.client() as client:
        head, _, _ = _request(BODY).partition(b"\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
        writer.write(
            head.replace(b"Content-Length: 18", b"Content-Length: 999999999") + b"\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        assert (await client.get(f"{EDITS}/edit_1")).status_code == 200

    assert [call.record.method for call in b.handler.calls] == ["GET"]


async def test_a_slow_client() -> None:
    """It reads at its own pace, and the owner sends at that pace."""
    picture = b"x" * 2**24
    body = b'{"data":"' + picture + b'"}'
    sent: list[int] = []

    async def script(call: Called, send: Send) -> None:
        await begin(send, 200, "application/json", content_length=str(len(body)))
        for at in range(0, len(body), 2**16):
            await more(send, body[at : at + 2**16])
            sent.append(at)
        await send({"type": "http.response.body"})

    async with node("b", script=script) as b, node("a", b.as_peer) as a:
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port, limit=2**16)
        writer.write(_request(BODY))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        waiting = len(sent)
        got = await reader.readexactly(len(body))
        writer.close()

    assert got == body
    assert waiting < len(sent)


async def test_nobody_owns_it_yet() -> None:
    """The client waits until somebody does, and that is off its patience there."""
    async with node("b") as b, node("a", Nobody()) as a, a.client() as client:
        asking = asyncio.get_running_loop().create_task(client.post(EDITS, content=BODY))
        await until(lambda: a.owners.waiting > 0)
        await asyncio.sleep(0.3)
        a.owners.set(b.as_peer)
        answer = await asking

    assert answer.status_code == 200
    (call,) = b.handler.calls
    assert 0.25 < call.record.waited < 5
    assert not call.record.repeats


async def test_nobody_owns_it_yet_then_this_node() -> None:
    """The body that was read while it waited goes to the handler."""
    async with node("a", Nobody()) as a, a.client() as client:
        asking = asyncio.get_running_loop().create_task(client.post(EDITS, content=BODY))
        await until(lambda: a.owners.waiting > 0)
        await asyncio.sleep(0.1)
        a.owners.set(Here())
        answer = await asking

    assert answer.status_code == 200
    (call,) = a.handler.calls
    assert (call.body, call.record.waited > 0.05) == (BODY, True)


async def test_nobody_owns_it() -> None:
    """When the client's patience ends it is told to come again: nothing was submitted."""
    async with node("a", Nobody()) as a, a.client() as client:
        answer = await client.post(EDITS, content=BODY, headers={"x-stainless-read-timeout": "0.5"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_is_draining")
    assert answer.headers["x-should-retry"] == "true"
    assert answer.headers["retry-after"] == "2"
    assert a.seen.lines[0].seconds < 5


async def test_turned_away_while_nobody_owns_it() -> None:
    """The node ends: its client is told to come again, at another node."""
    async with node("a", Nobody()) as a, a.client() as client:
        asking = asyncio.get_running_loop().create_task(client.post(EDITS, content=BODY))
        await until(lambda: a.owners.waiting > 0)
        assert a.door.busy == 1
        a.door.turn_away()
        answer = await asking

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_is_draining")
    assert a.door.busy == 0


async def test_turned_away_while_the_owner_works() -> None:
    """The node ends: the edit goes on at its owner, and a retry joins it."""

    async def script(call: Called, _: Send) -> None:
        await call.left.wait()

    async with node("b", script=script) as b, node("a", b.as_peer) as a, a.client() as client:
        asking = asyncio.get_running_loop().create_task(client.post(EDITS, content=BODY))
        await until(lambda: bool(b.handler.calls))
        a.door.turn_away()
        a.door.turn_away()
        answer = await asking

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "still_running")
    assert answer.headers["x-should-retry"] == "true"


async def test_turned_away_while_the_answer_is_sent() -> None:
    """It is sent to its end."""
    sent = asyncio.Event()

    async def script(_: Called, send: Send) -> None:
        await begin(send, 200, "application/json", content_length="4")
        await more(send, b'{"')
        await sent.wait()
        await send({"type": "http.response.body", "body": b'"}'})

    async with (
        node("b", script=script) as b,
        node("a", b.as_peer) as a,
        a.client() as client,
        client.stream("POST", EDITS, content=BODY) as answer,
    ):
        a.door.turn_away()
        sent.set()
        assert await answer.aread() == b'{""}'


async def test_the_client_leaves_while_nobody_owns_it() -> None:
    """Nobody is kept for it."""
    async with node("a", Nobody()) as a:
        _, writer = await asyncio.open_connection("127.0.0.1", a.port)
        writer.write(_request(BODY))
        await until(lambda: a.owners.waiting > 0)
        writer.close()
        await until(lambda: bool(a.seen.lines))

    assert a.seen.lines[0].outcome == "customer_left"


async def test_an_owner_that_does_not_listen_yet() -> None:
    """It is tried again, for it may have just started."""
    async with scripted() as gone:
        pass
    async with (
        node("b") as b,
        node("a", Peer("b", f"http://127.0.0.1:{gone.port}")) as a,
        a.client() as client,
    ):
        asking = asyncio.get_running_loop().create_task(client.post(EDITS, content=BODY))
        await asyncio.sleep(0.2)
        a.owners.set(b.as_peer)
        answer = await asking

    assert answer.status_code == 200
    assert b.handler.calls[0].record.repeats


def _is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


def _request(body: bytes) -> bytes:
    lines = [
        f"POST {EDITS} HTTP/1.1",
        "Host: gateway",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
