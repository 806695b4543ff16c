"""The owner is lost on the way: what its client gets from the next one, and what it does not."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from starlette.requests import Request
from starlette.types import ASGIApp, Send

from gateway.cluster.owners import Here, Nobody, Peer
from gateway.edits.request import ShardMoved
from tests.cluster.nodes import (
    EDITS,
    NO_MORE,
    Called,
    ScriptedOwner,
    begin,
    breaks,
    chunk,
    head,
    more,
    node,
    replies,
    scripted,
    until,
    writes,
)

pytestmark = pytest.mark.anyio

BODY = b'{"prompt":"a hat"}'
EVENTS = ("Content-Type: text/event-stream", "Transfer-Encoding: chunked")
BLANKS = ("Content-Type: application/json", "Transfer-Encoding: chunked")
BEAT = b": keep-alive\n\n"
PICTURE = b'event: image_edit.completed\ndata: {"b64_json":"AAAA"}\n\n'
FOUND = ("Content-Type: application/json", "Content-Length: 11")


def answers(status: str, body: bytes, *lines: str) -> Any:
    """Return a script that answers whole."""
    length = f"Content-Length: {len(body)}"
    return writes(head(status, "Content-Type: application/json", length, *lines), body)


async def post(url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
        given = {"authorization": "Bearer wk-acme", **headers}
        return await client.post(url + EDITS, content=BODY, headers=given)


def seen_requests(owner: ScriptedOwner) -> list[tuple[str, bool]]:
    return [(one.stated["edit_id"], one.stated["repeats"]) for one in owner.requests]


async def test_before_the_head() -> None:
    """The same request goes to the same owner once more, under the same name."""
    good = answers("200 OK", b'{"data":[]}')
    async with scripted(breaks(), good) as owner, node("a", owner.as_peer) as a:
        answer = await post(a.url)

    assert (answer.status_code, answer.content) == (200, b'{"data":[]}')
    (first, _), (second, repeats) = seen_requests(owner)
    assert (first, repeats) == (second, True)
    assert [one.body for one in owner.requests] == [BODY, BODY]
    assert owner.requests[1].stated["waited"] > owner.requests[0].stated["waited"]


async def test_after_the_head_of_a_picture() -> None:
    """A head binds nothing as long as it is here: another may come in its place."""
    lost = breaks(head("200 OK", "Content-Type: application/json", "Content-Length: 999"))
    good = answers("200 OK", b'{"data":[]}')
    async with scripted(lost, good) as owner, node("a", owner.as_peer) as a:
        answer = await post(a.url)

    assert (answer.content, answer.headers["content-length"]) == (b'{"data":[]}', "11")


async def test_by_id() -> None:
    """A question about a known edit is asked again; it begins none."""
    async with (
        scripted(breaks(), answers("200 OK", b"{}")) as owner,
        node("a", owner.as_peer) as a,
        a.client() as client,
    ):
        answer = await client.get(f"{EDITS}/edit_1")

    assert answer.status_code == 200
    assert seen_requests(owner) == [("", False), ("", False)]


async def test_after_heartbeats_of_a_stream() -> None:
    """The stream goes on as if nothing had been; what its head did not tell is told as comments."""
    lost = breaks(
        head("200 OK", *EVENTS, "x-wan-edit-id: edit_7", "x-wan-region: beijing"),
        chunk(BEAT),
        chunk(b": keep-al"),
    )
    good = writes(
        head(
            "200 OK",
            *EVENTS,
            "x-wan-edit-id: edit_7",
            "x-wan-region: beijing",
            "x-wan-task-id: task-1",
        ),
        chunk(BEAT),
        chunk(b": keep-alive\n"),
        chunk(b"\n" + PICTURE[:9]),
        chunk(PICTURE[9:]) + NO_MORE,
    )
    async with scripted(lost, good) as owner, node("a", owner.as_peer) as a:
        answer = await post(a.url)

    assert answer.status_code == 200
    assert answer.content == BEAT + b": x-wan-task-id: task-1\n\n" + BEAT + BEAT + PICTURE
    assert "x-wan-task-id" not in answer.headers
    assert seen_requests(owner)[1] == ("edit_7", True)


async def test_after_heartbeats_of_json() -> None:
    """Blanks went out: the answer follows them, without the second head."""
    lost = breaks(head("200 OK", *BLANKS, "x-wan-edit-id: edit_7"), chunk(b"\n"), chunk(b"\n\n"))
    good = writes(head("200 OK", *FOUND), b'{"data":[]}')
    async with scripted(lost, good) as owner, node("a", owner.as_peer) as a:
        answer = await post(a.url)

    assert (answer.status_code, answer.content) == (200, b'\n\n\n{"data":[]}')
    assert answer.headers["x-wan-edit-id"] == "edit_7"
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("lines", "beat", "expected"),
    [
        pytest.param(
            EVENTS,
            BEAT,
            BEAT + b'event: error\ndata: {"type":"error","error":{"message":"No.","code":"c"}}\n\n',
            id="stream",
        ),
        pytest.param(BLANKS, b"\n", b'\n{"error":{"message":"No.","code":"c"}}', id="json"),
    ],
)
async def test_a_refusal_after_heartbeats(
    lines: tuple[str, ...], beat: bytes, expected: bytes
) -> None:
    """What the next owner refuses is told as it is after a head: in the answer."""
    refusal = orjson.dumps({"error": {"message": "No.", "code": "c"}})
    lost = breaks(head("200 OK", *lines), chunk(beat))
    async with scripted(lost, answers("500 No", refusal)) as owner, node("a", owner.as_peer) as a:
        answer = await post(a.url)

    assert (answer.status_code, answer.content) == (200, expected)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(answers("200 OK", b"{}"), id="another-form"),
        pytest.param(answers("500 No", b"oh"), id="a-refusal-that-is-not-json"),
        pytest.param(answers("500 No", b"{}"), id="a-refusal-without-an-error"),
    ],
)
async def test_an_answer_that_cannot_follow(second: Any) -> None:
    """It is cut off instead of being made up: the client's retry gets it whole."""
    lost = breaks(head("200 OK", *EVENTS), chunk(BEAT))
    async with scripted(lost, second) as owner, node("a", owner.as_peer) as a:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(a.url)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([head("200 OK", *FOUND), b'{"dat'], id="json"),
        pytest.param([head("200 OK", *BLANKS), chunk(b'\n\n{"data')], id="after-blanks"),
        pytest.param([head("200 OK", *EVENTS), chunk(BEAT + b"event: im")], id="stream"),
        pytest.param([head("200 OK", "Content-Type: x/y", *EVENTS[1:]), chunk(b"\n")], id="other"),
    ],
)
async def test_in_the_middle_of_a_picture(pieces: list[bytes]) -> None:
    """Its connection is cut, and no other owner is asked: only a retry may begin anew."""
    async with scripted(breaks(*pieces)) as owner, node("a", owner.as_peer) as a:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(a.url)

    assert len(owner.requests) == 1
    assert a.seen.lines[0].status == 200


async def test_misdirected() -> None:
    """A node that is not the owner any more says so, and the next look finds the one that is."""
    refuses = answers("421 Misdirected Request", b"")
    async with scripted(refuses) as former, node("b") as b, node("a", former.as_peer) as a:
        asking = asyncio.get_running_loop().create_task(post(a.url))
        await until(lambda: bool(former.requests))
        a.owners.set(b.as_peer)
        answer = await asking

    assert answer.status_code == 200
    assert len(b.handler.calls) == 1


async def test_two_nodes_that_mean_each_other() -> None:
    """No request goes round: it waits at its first node until the two agree, or time is over."""
    async with node("b") as b, node("a", b.as_peer) as a:
        b.owners.set(a.as_peer)
        answer = await post(a.url, **{"x-stainless-read-timeout": "0.8"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "still_running")
    assert answer.json()["error"]["edit_id"] == a.seen.lines[0].edit_id
    assert answer.headers["x-should-retry"] == "true"
    assert {line.outcome for line in b.seen.lines} == {"misdirected"}
    assert len(a.seen.lines) == 1


async def _silent(call: Called, send: Send) -> None:
    await call.left.wait()


async def test_an_owner_that_falls_silent() -> None:
    """Its lease tells that it is lost, though its connection stays; the next owner answers."""
    async with node("b", script=_silent) as b, node("c") as c, node("a", b.as_peer) as a:
        asking = asyncio.get_running_loop().create_task(post(a.url))
        await until(lambda: bool(b.handler.calls))
        a.owners.set(Nobody())
        await asyncio.sleep(0.05)
        assert not b.handler.calls[0].left.is_set()
        a.owners.set(c.as_peer)
        answer = await asking
        await b.handler.calls[0].left.wait()

    assert answer.status_code == 200
    (call,) = c.handler.calls
    assert call.record.edit_id == b.handler.calls[0].record.edit_id
    assert call.record.repeats


async def test_the_same_node_with_another_lease() -> None:
    """A node that lost the shard and took it again may have forgotten the request."""
    async with node("b", script=_silent) as b, node("a", b.as_peer) as a:
        asking = asyncio.get_running_loop().create_task(post(a.url))
        await until(lambda: bool(b.handler.calls))
        b.handler.script = replies(200, b"{}")
        a.owners.set(Peer("b", b.url, "another"))
        answer = await asking

    assert (answer.status_code, len(b.handler.calls)) == (200, 2)


async def test_this_node_takes_over() -> None:
    """The request that was passed on goes to this node's own handler."""
    async with node("b", script=_silent) as b, node("a", b.as_peer) as a:
        asking = asyncio.get_running_loop().create_task(post(a.url))
        await until(lambda: bool(b.handler.calls))
        a.owners.set(Here())
        answer = await asking

    assert answer.status_code == 200
    (call,) = a.handler.calls
    assert (call.body, call.record.repeats, call.record.owner) == (BODY, True, "")
    assert call.record.edit_id == b.handler.calls[0].record.edit_id


async def test_a_picture_under_way_goes_on() -> None:
    """An owner that loses its lease while it sends a picture sends it to its end."""
    ended = asyncio.Event()

    async def script(call: Called, send: Send) -> None:
        await begin(send, 200, "application/json", content_length="11")
        await more(send, b'{"dat')
        await ended.wait()
        await send({"type": "http.response.body", "body": b'a":[]}'})

    async with node("b", script=script) as b, node("c") as c, node("a", b.as_peer) as a:
        asking = asyncio.get_running_loop().create_task(post(a.url))
        await until(lambda: bool(b.handler.calls))
        await asyncio.sleep(0.1)
        a.owners.set(c.as_peer)
        await asyncio.sleep(0.1)
        ended.set()
        answer = await asking

    assert answer.content == b'{"data":[]}'
    assert c.handler.calls == []


# ------------------------------------------------------------ this node was the owner


async def test_this_node_gives_the_shard_away() -> None:
    """Its own clients go on at the next owner, with the body that was kept for that."""
    async with node("b") as b, node("a") as a:
        a.handler.script = _giving(a.owners, b.as_peer)
        answer = await post(a.url)

    assert answer.status_code == 200
    (call,) = b.handler.calls
    assert (call.body, call.record.repeats) == (BODY, True)
    assert call.record.edit_id == a.handler.calls[0].record.edit_id


async def test_this_node_gives_the_shard_away_after_heartbeats() -> None:
    """A stream that its own handler began goes on with the next owner's."""
    good = writes(head("200 OK", *EVENTS), chunk(PICTURE) + NO_MORE)

    async def script(call: Called, send: Send) -> None:
        await begin(send, 200, "text/event-stream", x_wan_edit_id="edit_3")
        await more(send, BEAT)
        a.owners.set(owner.as_peer)
        raise ShardMoved

    async with scripted(good) as owner, node("a", script=script) as a:
        answer = await post(a.url)

    assert answer.content == BEAT + PICTURE
    assert seen_requests(owner) == [("edit_3", True)]


async def test_this_node_gives_the_shard_away_and_takes_it_again() -> None:
    """The handler gets the body a second time."""
    async with node("a") as a:
        again = replies(200, b'{"again":1}')

        async def script(call: Called, send: Send) -> None:
            a.handler.script = again
            raise ShardMoved

        a.handler.script = script
        answer = await post(a.url)

    assert answer.json() == {"again": 1}
    assert [call.body for call in a.handler.calls] == [BODY, BODY]


async def test_a_client_leaves_after_its_body_was_replayed() -> None:
    """The handler sees it as it does the first time."""

    async def stays(call: Called, send: Send) -> None:
        await call.left.wait()

    async def moves(call: Called, send: Send) -> None:
        a.handler.script = stays
        raise ShardMoved

    async with node("a", script=moves) as a:
        asking = asyncio.get_running_loop().create_task(post(a.url))
        await until(lambda: len(a.handler.calls) == 2)
        asking.cancel()
        async with asyncio.timeout(5):
            await a.handler.calls[1].left.wait()


async def test_given_away_before_the_body_was_read() -> None:
    """The rest of it is read then, and the next owner gets the whole."""

    async def endpoint(request: Request) -> ASGIApp:
        await request.receive()
        a.owners.set(b.as_peer)
        raise ShardMoved

    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(BODY), 5):
            yield BODY[at : at + 5]
            await asyncio.sleep(0.05)

    async with node("b") as b, node("a", endpoint=endpoint) as a, a.client() as client:
        answer = await client.post(EDITS, content=body())

    assert answer.status_code == 200
    assert b.handler.calls[0].body == BODY


@pytest.mark.parametrize("started", [False, True])
async def test_a_passed_request_of_a_shard_that_is_given_away(*, started: bool) -> None:
    """The owner says that it is none any more, or breaks off; its client is at another node."""

    async def script(call: Called, send: Send) -> None:
        if started:
            await begin(send, 200, "text/event-stream")
            await more(send, BEAT)
            await asyncio.sleep(0.1)
        a.owners.set(c.as_peer)
        raise ShardMoved

    good = replies(200, PICTURE, "text/event-stream")
    async with (
        node("c", script=good) as c,
        node("b", script=script) as b,
        node("a", b.as_peer) as a,
    ):
        answer = await post(a.url)

    assert answer.content == (BEAT if started else b"") + PICTURE


# ------------------------------------------------------------ no owner is left


async def test_nobody_takes_over() -> None:
    """Whether a task was made is not known: the client is told to ask again, by the edit's name."""
    async with scripted(breaks()) as owner, node("a", owner.as_peer) as a:
        asking = asyncio.get_running_loop().create_task(
            post(a.url, **{"x-stainless-read-timeout": "0.8"})
        )
        await until(lambda: bool(owner.requests))
        a.owners.set(Nobody())
        answer = await asking

    assert answer.status_code == 503
    error = answer.json()["error"]
    assert (error["code"], error["edit_id"]) == ("still_running", seen_requests(owner)[0][0])


@pytest.mark.parametrize(
    ("lines", "beat", "before"),
    [
        pytest.param(EVENTS, BEAT, b'event: error\ndata: {"type":"error",', id="stream"),
        pytest.param(BLANKS, b"\n", b"{", id="json"),
    ],
)
async def test_nobody_takes_over_after_heartbeats(
    lines: tuple[str, ...], beat: bytes, before: bytes
) -> None:
    """They go on while there is hope, and then the answer says that there is none."""
    lost = breaks(head("200 OK", *lines), chunk(beat))
    short: dict[str, Any] = {"heartbeat_seconds": 0.1, "max_wait_seconds": 0.8}
    async with scripted(lost) as owner, node("a", owner.as_peer, **short) as a:
        asking = asyncio.get_running_loop().create_task(post(a.url))
        await until(lambda: bool(owner.requests))
        a.owners.set(Nobody())
        answer = await asking

    beats, _, error = answer.content.partition(before + b'"error":')
    assert beats.count(beat) > 2
    assert beats.replace(beat, b"") == b""
    assert orjson.loads(error.strip()[:-1])["code"] == "still_running"
    assert a.seen.of("late error") == [("late error", 503, "acme")]
    assert a.seen.lines[0].outcome == "still_running"


async def test_no_heartbeats_before_the_first() -> None:
    """A client that has heard nothing yet hears nothing while there is no owner."""
    async with node("a", Nobody(), heartbeat_seconds=0.05) as a:
        answer = await post(a.url, **{"x-stainless-read-timeout": "0.5"})

    assert answer.status_code == 503


def _giving(owners: Any, peer: Peer) -> Any:
    async def script(call: Called, send: Send) -> None:
        owners.set(peer)
        raise ShardMoved

    return script
