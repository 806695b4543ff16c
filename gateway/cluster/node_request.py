"""What one node tells another about a request that it passes on, and which headers stay behind."""

import hmac
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.downstream.access_record import record_of

Headers = Iterable[tuple[bytes, bytes]]

MISDIRECTED = 421
"""What a node answers that does not take a passed request; no client of ours sees it."""

_PREFIX = b"x-wan-node-"
_SECRET = b"x-wan-node-secret"
_REQUEST = b"x-wan-node-request"
# RFC 9110 7.6.1, and what the next hop frames and negotiates for itself.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# What the front door's own middleware and server add to every answer.
_OF_EACH_ANSWER = frozenset(
    {b"date", b"openai-processing-ms", b"openai-version", b"server", b"x-request-id"}
)
_CORS = b"access-control-"


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """What the node that a client is connected to says of its request."""

    node: str
    """Its name."""
    edit_id: str = ""
    """What the edit is called if it begins with this request; empty for one that begins none."""
    repeats: bool = False
    """Whether it was passed to another owner before, so that the edit may exist."""
    age: float = 0.0
    """Seconds since the request's first byte came."""
    waited: float = 0.0
    """Seconds since its body was read: from then on its client's patience counts."""


def headers_to_owner(
    headers: Headers, node_request: NodeRequest, *, secret: str, request_id: str, length: int | None
) -> list[tuple[str, str]]:
    """
    Return the headers by which a client's request travels to the owner of its tenant.

    The body is framed by its true length, so that no two nodes can disagree about where
    it ends. Values travel as UTF-8, to arrive byte for byte (see headers_from_node).

    Args:
        headers: As the client sent them, names in lower case.
        node_request: What this node says of it.
        secret: By which the owner knows this node.
        request_id: That of this node's log, for the owner's.
        length: Of the body in bytes; ``None``: there is none.
    """
    listed = {
        name.strip().lower()
        for key, value in headers
        if key == b"connection"
        for name in value.split(b",")
    }
    left_out = _HOP_BY_HOP | listed | {b"x-request-id"}
    passed = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if name not in left_out and not name.startswith(_PREFIX)
    ]
    passed += [
        ("x-request-id", request_id),
        (_SECRET.decode(), secret),
        (_REQUEST.decode(), orjson.dumps(asdict(node_request)).decode()),
    ]
    if length is not None:
        passed.append(("content-length", str(length)))
    return passed


def headers_to_client(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers of an owner's answer that its client gets, less what is added here."""
    lower = [(name.lower(), value) for name, value in headers]
    return [
        (name, value)
        for name, value in lower
        if (name not in _HOP_BY_HOP or name == b"content-length")
        and name not in _OF_EACH_ANSWER
        and not name.startswith((_PREFIX, _CORS))
        and (name, value.lower()) != (b"vary", b"origin")
    ]


def headers_from_node(
    headers: Headers, secret: str
) -> tuple[list[tuple[bytes, bytes]], NodeRequest | None]:
    """
    Return a request's own headers, and what another node said of it.

    ``None`` instead of the latter: no node that has *secret* said it, or nothing readable.
    """
    stated = [(name, value) for name, value in headers if name.startswith(_PREFIX)]
    by_name = dict(stated)
    presented = by_name.get(_SECRET, b"")
    if len(by_name) != len(stated) or not hmac.compare_digest(presented, secret.encode()):
        return [], None
    try:
        node_request = _read(orjson.loads(by_name[_REQUEST]))
        own = [
            (name, value.decode("utf-8").encode("latin-1"))
            for name, value in headers
            if not name.startswith(_PREFIX)
        ]
    except (KeyError, TypeError, ValueError):
        return [], None
    return own, node_request


def _read(stated: dict[str, Any]) -> NodeRequest:
    """Return *stated* as a NodeRequest; what a newer node states beyond it is not for us."""
    age = float(stated["age"])
    waited = float(stated["waited"])
    if not (math.isfinite(age) and math.isfinite(waited)):
        raise ValueError
    return NodeRequest(
        node=str(stated["node"]),
        edit_id=str(stated["edit_id"]),
        repeats=bool(stated["repeats"]),
        age=max(0.0, age),
        waited=max(0.0, waited),
    )


class NodeRequests:
    """
    ASGI middleware, within the access log: takes what other nodes say of a request.

    Whoever does not know the secret is refused: what a node says decides which edit a request
    joins. A client has no reason to send such a header.

    Args:
        app: What is within.
        secret: ``[cluster] secret``.
    """

    def __init__(self, app: ASGIApp, *, secret: str) -> None:
        self._app = app
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(
            name.startswith(_PREFIX) for name, _ in scope["headers"]
        ):
            own, node_request = headers_from_node(scope["headers"], self._secret)
            record = record_of(scope)
            if node_request is None:
                record.outcome = "misdirected"
                await Response(status_code=MISDIRECTED)(scope, receive, send)
                return
            record.via = node_request.node
            record.edit_id = node_request.edit_id
            record.repeats = node_request.repeats
            record.started -= node_request.age
            record.waited = node_request.waited
            scope = {**scope, "headers": own}
        await self._app(scope, receive, send)
