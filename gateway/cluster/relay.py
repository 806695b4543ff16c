"""One answer to a client, though the nodes that give it may die one after the other."""

from collections.abc import Mapping
from typing import Protocol

import orjson
from starlette.types import Message, Send

from gateway.domain.errors import GatewayError
from gateway.downstream.reply import ReplyCut
from gateway.translate.openai_error import error_body
from gateway.translate.openai_response import (
    HEARTBEAT,
    error_event,
    error_event_of,
    header_comments,
)

_JSON = b"application/json"
_EVENTS = b"text/event-stream"
_TELLING = b"x-wan-"


class AnswerRelay:
    """
    Sends one owner's answer on, and after it, if need be, the next owner's in its place.

    Heartbeats commit to nothing: they are sent at once, and another owner's answer may follow
    them. So may it follow the head, whose status is 200 if there are heartbeats: the head of
    that answer is dropped then. Any other byte binds: from it on the answer has *begun*, and
    only the owner that began it can end it.

    Args:
        send: To the client.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message = {}
        """Of the answer that is under way; sent with its first byte."""
        self._sent: dict[bytes, bytes] = {}
        self._heartbeats: _Heartbeats = _NoHeartbeats()
        self._refusal: bytearray | None = None
        """The body of a refusal that came after the head: told in the answer's own form."""
        self.started = False
        """Whether the head went out."""
        self.begun = False
        self.ended = False
        """Whether the client has the whole answer."""

    @property
    def edit_id(self) -> str:
        """The edit that the client was told of; empty if it was told of none."""
        return self._sent.get(b"x-wan-edit-id", b"").decode("latin-1")

    async def send(self, message: Message) -> None:
        """
        Take the next message of the answer that is under way; an ASGI ``send``.

        Raises:
            ReplyCut: it cannot follow what went out.
        """
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._refusal is not None:
            self._refusal += message.get("body", b"")
            if not message.get("more_body", False):
                await self._end(self._in_band(bytes(self._refusal)))
        else:
            await self._body(message.get("body", b""), more=message.get("more_body", False))

    def restart(self) -> None:
        """Forget the answer that was under way: the next owner's follows."""
        self._head = {}
        self._refusal = None

    async def beat(self) -> None:
        """Keep a connection awake whose head went out, while no owner does."""
        if self.started:
            await self._out(self._heartbeats.beat)

    async def refuse(self, error: GatewayError, request_id: str) -> None:
        """End an answer whose head went out by an error of this node."""
        await self._end(self._heartbeats.error(error, request_id))

    async def _begin(self, head: Message) -> None:
        headers = dict(head.get("headers", ()))
        kind = headers.get(b"content-type", b"").partition(b";")[0]
        if not self.started:
            self._head = head
            self._heartbeats = _heartbeats_of(kind)
            return
        same = kind == self._sent[b"content-type"].partition(b";")[0]
        if head["status"] == 200 and same:
            self._heartbeats.reset()
            await self._out(self._heartbeats.late(_changed(self._sent, headers)))
        elif head["status"] >= 400 and kind == _JSON:
            self._refusal = bytearray()
        else:
            raise ReplyCut

    async def _body(self, piece: bytes, *, more: bool) -> None:
        if not self.begun:
            beats, rest = self._heartbeats.split(piece, more=more)
            self.begun = bool(rest) or not more
            piece = beats + rest
            if not piece and more:
                return
            if not self.started:
                self.started = True
                self._sent = dict(self._head.get("headers", ()))
                await self._send(self._head)
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})
        self.ended = not more

    def _in_band(self, body: bytes) -> bytes:
        try:
            return self._heartbeats.refusal(body)
        except (ValueError, KeyError, TypeError):
            raise ReplyCut from None

    async def _end(self, body: bytes) -> None:
        self.begun = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        self.ended = True

    async def _out(self, piece: bytes) -> None:
        if piece:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})


def _changed(sent: Mapping[bytes, bytes], headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return what *headers* say of the edit that the head which was *sent* did not."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers.items()
        if name.startswith(_TELLING) and sent.get(name) != value
    }


class _Heartbeats(Protocol):
    """How heartbeats look in one form of answer, and what else can be said in it."""

    beat: bytes

    def split(self, piece: bytes, *, more: bool) -> tuple[bytes, bytes]:
        """Return the heartbeats at the beginning of *piece*, and the rest."""
        ...

    def reset(self) -> None: ...
    def late(self, headers: Mapping[str, str]) -> bytes: ...
    def error(self, error: GatewayError, request_id: str) -> bytes: ...

    def refusal(self, body: bytes) -> bytes:
        """Return *body*, the JSON of a refusal, as this form tells it."""
        ...


class _NoHeartbeats:
    """An answer without heartbeats: its first byte binds."""

    beat = b""

    def split(self, piece: bytes, *, more: bool) -> tuple[bytes, bytes]:  # noqa: ARG002 - as the others
        return b"", piece

    def reset(self) -> None:
        """There is nothing to forget."""

    def late(self, headers: Mapping[str, str]) -> bytes:  # noqa: ARG002 - as the others
        return b""

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def refusal(self, body: bytes) -> bytes:
        return body


class _LineEnds(_NoHeartbeats):
    """JSON after any number of line ends."""

    beat = b"\n"

    def split(self, piece: bytes, *, more: bool) -> tuple[bytes, bytes]:  # noqa: ARG002 - as the others
        rest = piece.lstrip(b"\n")
        return piece[: len(piece) - len(rest)], rest


class _Comments(_NoHeartbeats):
    """Server-sent events after any number of comments, whose lines may come in pieces."""

    beat = HEARTBEAT

    def __init__(self) -> None:
        self._line = b""
        """The beginning of a comment whose end has not come."""

    def split(self, piece: bytes, *, more: bool) -> tuple[bytes, bytes]:
        data = self._line + piece
        self._line = b""
        at = 0
        while data[at : at + 1] in {b":", b"\n"}:
            end = data.find(b"\n", at)
            if end < 0:
                if more:
                    self._line = data[at:]
                    return data[:at], b""
                break
            at = end + 1
        return data[:at], data[at:]

    def reset(self) -> None:
        self._line = b""

    def late(self, headers: Mapping[str, str]) -> bytes:
        return header_comments(headers)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return error_event(error, request_id)

    def refusal(self, body: bytes) -> bytes:
        return error_event_of(orjson.loads(body)["error"])


def _heartbeats_of(kind: bytes) -> _Heartbeats:
    if kind == _EVENTS:
        return _Comments()
    return _LineEnds() if kind == _JSON else _NoHeartbeats()
