"""The pictures that the gateway keeps: GET by a signed URL, DELETE by the tenant's key (D112)."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.domain.clock import Clock
from gateway.domain.errors import Forbidden, GatewayError, NotFound
from gateway.downstream.access_record import record_of
from gateway.downstream.auth import Keyring
from gateway.downstream.byte_range import byte_range
from gateway.downstream.disconnect import ClientLeft, DisconnectWatch
from gateway.downstream.reply import STALL_SECONDS, ReplyCut, UrlOf
from gateway.edits.request import KeptResult
from gateway.results.keeper import ResultKeeper
from gateway.results.names import ResultName, owner_of, parse_name
from gateway.results.signatures import ResultSigner, expiry_of
from gateway.results.store import Stored

FROM_HOST = "host"
"""In place of a public URL: what the request was sent to."""
_PATH = "/v1/images/results"
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
_LONGEST_CACHE = 86_400  # seconds; a deleted picture must not stay in caches for months


@dataclass(frozen=True, slots=True)
class ResultLinks:
    """
    Makes the URLs that answers have.

    Args:
        signer: Signs them.
        public_url: What they begin with, without a slash at its end; or FROM_HOST.
    """

    signer: ResultSigner
    public_url: str

    def url_of(self, request: Request) -> UrlOf:
        """Return what makes URLs for the client of *request*."""
        begin = self.public_url
        if begin == FROM_HOST:
            begin = f"{request.scope.get('scheme', 'http')}://{_host_of(request)}"
        return partial(self._url, begin + _PATH)

    def _url(self, begin: str, kept: KeptResult) -> str:
        return f"{begin}/{kept.name}?{self.signer.query(kept.name, kept.expires)}"


def _host_of(request: Request) -> str:
    """Return the Host header, or the address that was connected to if it is malformed."""
    host = request.headers.get("host", "")
    if _HOST.fullmatch(host):
        return host
    name, port = request.scope.get("server") or ("127.0.0.1", 80)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """The endpoints of kept pictures; nothing lists them."""

    keeper: ResultKeeper
    signer: ResultSigner
    keyring: Keyring
    clock: Clock
    tenant_by_owner: Mapping[str, str] = field(default_factory=dict)
    """For the log: the names of the configured tenants."""
    stall_seconds: float = STALL_SECONDS

    async def get(self, request: Request) -> ASGIApp:
        """
        Return a picture, or the part of it that ``Range`` asks for; the URL is the permission.

        Raises:
            NotFound: there is no such picture (any more).
            Forbidden: the signature is missing or wrong, or the URL has expired.
        """
        name = self._permitted(request)
        record_of(request.scope).tenant = self.tenant_by_owner.get(name.owner, "")
        if request.method != "HEAD":
            return partial(self._send, request, name)
        stored = await self.keeper.stat(name)
        if stored is None:
            raise _no_such_picture()
        headers = self._headers(request, stored)
        if _is_known(request.headers, stored):
            return Response(status_code=304, headers=headers)
        return Response(headers={**headers, "content-length": str(stored.size)})

    async def delete(self, request: Request) -> Response:
        """
        Delete one picture of the tenant whose key is sent.

        Raises:
            NotFound: the tenant has no such picture.
        """
        tenant = self.keyring.authenticate(request)
        text = request.path_params["name"]
        name = parse_name(text)
        own = name is not None and name.owner == owner_of(tenant.name)
        if name is None or not own or not await self.keeper.delete(name):
            raise _no_such_picture()
        return _deleted({"id": text, "object": "image.result", "deleted": True})

    async def delete_all(self, request: Request) -> Response:
        """Delete every picture of the tenant whose key is sent."""
        tenant = self.keyring.authenticate(request)
        n = await self.keeper.delete_all(tenant.name)
        return _deleted({"object": "list", "deleted": n})

    def _permitted(self, request: Request) -> ResultName:
        """Return the name in the URL of *request*, whose signature is checked first of all."""
        name = parse_name(request.path_params["name"])
        query = request.query_params
        expires = query.get("expires", "")
        signature = query.get("signature", "")
        if name is None:
            raise _no_such_picture()
        if not self.signer.is_valid(str(name), expires, signature):
            raise Forbidden(
                "The signature of this URL is missing or wrong. Use the whole URL as it was "
                "answered.",
                code="invalid_signature",
            )
        until = expiry_of(expires)
        if until is None or until < self.clock.epoch():
            raise Forbidden(
                "This URL has expired. GET /v1/images/edits/{edit_id} answers a new one for "
                "24 hours after the edit.",
                code="url_expired",
            )
        return name

    async def _send(
        self, request: Request, name: ResultName, scope: Scope, receive: Receive, send: Send
    ) -> None:
        async with self.keeper.open(name) as opened:
            if opened is None:
                raise _no_such_picture()
            stored = opened.stored
            headers = self._headers(request, stored)
            if _is_known(request.headers, stored):
                await Response(status_code=304, headers=headers)(scope, receive, send)
                return
            start, stop = _selected(request.headers, stored) or (0, stored.size)
            headers["content-length"] = str(stop - start)
            part = (start, stop) != (0, stored.size)
            if part:
                headers["content-range"] = f"bytes {start}-{stop - 1}/{stored.size}"
            async with DisconnectWatch(receive) as client:
                await send(_head(206 if part else 200, headers))
                try:
                    async for chunk in opened.chunks(start, stop):
                        await self._send_chunk(client, send, chunk)
                except GatewayError as broken:
                    record_of(scope).note_error(broken)
                    raise ReplyCut from broken
                await send({"type": "http.response.body", "body": b""})

    async def _send_chunk(self, client: DisconnectWatch, send: Send, chunk: bytes) -> None:
        """
        Send a chunk once the socket has room for it.

        Raises:
            ClientLeft: it is gone, or reads nothing any more.
        """
        try:
            async with asyncio.timeout(self.stall_seconds):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            raise ClientLeft from None
        if client.left:
            raise ClientLeft

    def _headers(self, request: Request, stored: Stored) -> dict[str, str]:
        expires = expiry_of(request.query_params.get("expires", "")) or 0
        rest = min(_LONGEST_CACHE, max(0, int(expires - self.clock.epoch())))
        return {
            "content-type": stored.name.media_type,
            "content-disposition": f'inline; filename="{stored.name}"',
            "cache-control": f"private, max-age={rest}, immutable",
            "etag": stored.etag,
            "last-modified": formatdate(stored.modified, usegmt=True),
            "accept-ranges": "bytes",
            # It is a picture and nothing else, and any page that has its URL may show it.
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; sandbox",
            "cross-origin-resource-policy": "cross-origin",
        }


def _is_known(headers: Mapping[str, str], stored: Stored) -> bool:
    """Return whether the client has this picture already."""
    tags = [tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")]
    return "*" in tags or stored.etag in tags


def _selected(headers: Mapping[str, str], stored: Stored) -> tuple[int, int] | None:
    """Return which bytes are asked for; all of them if the client has a part of others."""
    if headers.get("if-range", stored.etag) != stored.etag:
        return None
    return byte_range(headers.get("range", ""), stored.size)


def _head(status: int, headers: Mapping[str, str]) -> Message:
    raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}


def _no_such_picture() -> NotFound:
    return NotFound("There is no such picture (any more).", code="result_not_found")


def _deleted(body: Mapping[str, object]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
