"""
The dashboard: a page, its files, its stream of states, and who may see them.

Without a token three things must hold, each against one way in: the peer is loopback (the
network), the Host header names loopback (a web page whose DNS name was rebound to 127.0.0.1),
and no header is a proxy's (behind which every peer is loopback). Requests of another site's
page are refused with and without a token, even where CORS lets that page call the API.
"""

import hmac
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Protocol, Self
from urllib.parse import parse_qs

import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import __version__
from gateway.domain.clock import Clock
from gateway.domain.errors import Forbidden, NotFound, UnknownKey
from gateway.domain.loopback import is_loopback
from gateway.domain.snapshot import Snapshot
from gateway.downstream.auth import bearer_token, host_of, is_own_page
from gateway.downstream.body import BodyLimits, read_body
from gateway.downstream.disconnect import DisconnectWatch
from gateway.downstream.memory_budget import MemoryBudget, Reservation
from gateway.downstream.ops import Readiness
from gateway.downstream.ports import AccessLog, EdgeObserver
from gateway.downstream.reply import send_head
from gateway.downstream.routes import Endpoint, MethodRouter
from gateway.downstream.viewers import RecentReplies, Shrink, Thumbnails, Viewers

COOKIE = "wan_gateway_dashboard"
SESSION_SECONDS = 12 * 3600
_OF_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")

PATH = "/dashboard"
_EVENTS = f"{PATH}/events"
_FORM = BodyLimits(max_body_bytes=4096, body_seconds=10, idle_body_seconds=5)
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_STATIC = ("dashboard.css", "dashboard.js", "elements.js", "icon.svg")
_SAFE = {
    # Nothing from other sites, nothing inline, and no text ever becomes HTML.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_STREAM = {**_SAFE, "content-type": "text/event-stream", "x-accel-buffering": "no"}


class DashboardAccess:
    """
    Decides who may see the dashboard.

    Args:
        token: A user types it, a program sends it as bearer token; ``None``: loopback only.
        clock: Ends the sessions of browsers.
    """

    def __init__(self, token: str | None, clock: Clock) -> None:
        self._token = token
        self._clock = clock

    def with_token(self, token: str | None) -> "DashboardAccess":
        """Return the same for another token."""
        return DashboardAccess(token, self._clock)

    def check_origin(self, request: HTTPConnection, *, navigation: bool = False) -> None:
        """
        Refuse a request that comes from where none may come from, token or not.

        Args:
            request: The request.
            navigation: Whether following a link from another site may lead here.

        Raises:
            Forbidden: it comes from another machine, by another name, through a proxy, or
                from another site's page.
        """
        if self._token is None:
            _check_loopback(request)
        if not navigation and not is_own_page(request.headers):
            raise Forbidden("The dashboard is not shown to other sites' pages.")

    def check(self, request: HTTPConnection, *, navigation: bool = False) -> None:
        """
        Admit a request with the token, as bearer token or by the cookie of a session.

        Raises:
            Forbidden: see check_origin.
            UnknownKey: the token is missing, wrong or too old.
        """
        self.check_origin(request, navigation=navigation)
        if self._token is None:
            return
        if self.is_token(bearer_token(request.headers)):
            return
        if not self._is_session(request.cookies.get(COOKIE, "")):
            raise UnknownKey("The dashboard needs its token: as bearer token, or on its page.")

    def is_token(self, presented: str) -> bool:
        """Compare in constant time."""
        return self._token is not None and hmac.compare_digest(
            sha256(presented.encode("utf-8", "replace")).digest(),
            sha256(self._token.encode()).digest(),
        )

    def session(self) -> str:
        """Return a cookie's value, valid for 12 hours in every process with this token."""
        return self._signed(int(self._clock.epoch()) + SESSION_SECONDS)

    def _is_session(self, cookie: str) -> bool:
        ends, _, _ = cookie.partition(".")
        if not ends.isascii() or not ends.isdigit() or len(ends) > 12:
            return False
        whole = self._signed(int(ends)).encode()
        good = hmac.compare_digest(whole, cookie.encode("latin-1", "replace"))
        return good and int(ends) > self._clock.epoch()

    def _signed(self, ends: int) -> str:
        # The token is the key: another token ends all sessions, a restart none.
        by = hmac.new((self._token or "").encode(), f"{COOKIE} {ends}".encode(), sha256)
        return f"{ends}.{by.hexdigest()}"


def _check_loopback(request: HTTPConnection) -> None:
    peer = request.client.host if request.client else ""
    if not is_loopback(peer):
        raise Forbidden("Without [dashboard] token only this machine may see it; set one.")
    if not is_loopback(host_of(request.headers)):
        raise Forbidden("Without [dashboard] token open it as http://127.0.0.1 or localhost.")
    if any(name in request.headers for name in _OF_PROXIES):
        raise Forbidden("Behind a proxy the dashboard needs its token; set [dashboard] token.")


class Overview(Protocol):
    """Who can be looked at; gateway.edits.service implements it."""

    def snapshot(self) -> Snapshot: ...


@dataclass(frozen=True, slots=True)
class StateReader:
    """Reads everything that a viewer may see, as JSON."""

    service: Overview
    replies: RecentReplies
    budget: MemoryBudget
    readiness: Readiness
    thumbnails: Thumbnails | None

    def __call__(self) -> bytes:
        return orjson.dumps(
            {
                "version": __version__,
                "draining": self.readiness.draining,
                "bytes": {"held": self.budget.held, "limit": self.budget.limit},
                "edits": self.service.snapshot(),
                "answered": self.replies.recent(),
                "thumbnails": self.thumbnails.edit_ids() if self.thumbnails else (),
            }
        )


@dataclass(frozen=True, slots=True)
class Dashboard:
    """
    Every path below /dashboard.

    A request without access gets the error body of every other endpoint; only a browser that
    opens the page itself gets the sign-in form instead.
    """

    access: DashboardAccess
    viewers: Viewers
    config: str
    """What the config means, in words, without a key."""
    write_record: AccessLog
    """To be called in place of the app's own access log, which it calls."""
    thumbnails: Thumbnails | None

    @property
    def on_created(self) -> Callable[[str, bytes], None] | None:
        """Called with the id of each edit and its first picture."""
        return self.thumbnails.offer if self.thumbnails else None

    @property
    def background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs in tasks of its own as long as the process serves."""
        return (self.thumbnails.run,) if self.thumbnails else ()

    def of_config(self, token: str | None, config: str) -> Self:
        """Return the same dashboard for another token and text of the config."""
        return replace(self, access=self.access.with_token(token), config=config)

    def end_streams(self) -> None:
        """End every stream, so that its viewer has to show the token that is in force."""
        self.viewers.end_streams()

    def close(self) -> None:
        """End every stream: the process stops."""
        self.viewers.close()

    def routes(self, observer: EdgeObserver) -> list[Route]:
        def serve(path: str, label: str = PATH, **by_method: Endpoint) -> Route:
            by_method.setdefault("HEAD", by_method["GET"])
            return Route(path, MethodRouter(label, by_method, observer))

        return [
            *(serve(it, GET=self.page, POST=self.sign_in) for it in (PATH, f"{PATH}/")),
            serve(_EVENTS, _EVENTS, GET=self.events, HEAD=self.snapshot),
            serve(f"{PATH}/snapshot", GET=self.snapshot),
            serve(f"{PATH}/config", GET=self.config_text),
            serve(f"{PATH}/thumbnails/{{edit_id}}", GET=self.thumbnail),
            serve(f"{PATH}/{{file}}", GET=self.file),
        ]

    async def page(self, request: Request) -> Response:
        """Return the page, or the sign-in form where the token is missing."""
        try:
            self.access.check(request, navigation=True)
        except UnknownKey:
            return _form("")
        return _html(_file("dashboard.html"))

    async def sign_in(self, request: Request) -> Response:
        """Exchange the token for a cookie that no script can read."""
        self.access.check_origin(request)
        if not self.access.is_token(await _token_of(request)):
            return _form("That is not the token.")
        cookie = (
            f"{COOKIE}={self.access.session()}; Path={PATH}; Max-Age={SESSION_SECONDS}; "
            "HttpOnly; SameSite=Strict"
        )
        if request.headers.get("x-forwarded-proto", request.url.scheme) == "https":
            cookie += "; Secure"
        headers = {**_SAFE, "location": PATH, "set-cookie": cookie}
        return Response(status_code=303, headers=headers)

    async def events(self, request: Request) -> ASGIApp:
        """Stream states until the viewer disconnects."""
        self.access.check(request)
        self.viewers.admit()
        return self._stream

    async def snapshot(self, request: Request) -> Response:
        """Return one state."""
        self.access.check(request)
        return Response(self.viewers.state(), headers=_SAFE, media_type="application/json")

    async def config_text(self, request: Request) -> Response:
        """Return what the config means."""
        self.access.check(request)
        return Response(self.config, headers=_SAFE, media_type="text/plain")

    async def thumbnail(self, request: Request) -> Response:
        """Return a small picture of what is edited."""
        self.access.check(request)
        picture = self.thumbnails and self.thumbnails.of(request.path_params["edit_id"])
        if not picture:
            raise NotFound("There is no such picture (any more).")
        return Response(picture, headers=_SAFE, media_type="image/webp")

    async def file(self, request: Request) -> Response:
        """Return a file of the page; the sign-in form needs them too."""
        self.access.check_origin(request)
        name = request.path_params["file"]
        if name not in _STATIC:
            raise NotFound("The dashboard has no such file.")
        return Response(_file(name), headers=_SAFE, media_type=_TYPES[name.rpartition(".")[2]])

    async def _stream(self, _: Scope, receive: Receive, send: Send) -> None:
        await send_head(send, _STREAM)
        async with DisconnectWatch(receive) as client:
            await self.viewers.stream(send, client)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def open_dashboard(
    *,
    token: str | None,
    config: str,
    service: Overview,
    log: AccessLog,
    budget: MemoryBudget,
    readiness: Readiness,
    shrink: Shrink | None,
    clock: Clock,
) -> Dashboard:
    """
    Put the dashboard together.

    Args:
        token: Opens it; ``None``: it is open to this machine alone.
        config: What the config means, in words.
        service: Has the edits.
        log: The app's own access log.
        budget: The bytes in flight.
        readiness: Whether the process drains.
        shrink: Makes thumbnails; ``None``: there are none.
        clock: Time.
    """
    replies = RecentReplies(log)
    thumbnails = Thumbnails(shrink, lambda: viewers.present > 0) if shrink else None
    viewers = Viewers(StateReader(service, replies, budget, readiness, thumbnails), clock)
    return Dashboard(DashboardAccess(token, clock), viewers, config, replies.write, thumbnails)


@cache
def _file(name: str) -> bytes:
    return files("gateway.downstream").joinpath("static", name).read_bytes()


def _html(content: bytes, status: int = 200) -> Response:
    return Response(content, status, headers=_SAFE, media_type="text/html")


def _form(message: str) -> Response:
    """Return the sign-in form; *message* is ours, so it needs no escaping."""
    return _html(_file("sign_in.html").replace(b"{message}", message.encode()), 401)


async def _token_of(request: Request) -> str:
    """
    Return the form's one field.

    Raises:
        RequestTooLarge: it is longer than any token.
    """
    body = bytearray()
    reservation = Reservation(MemoryBudget(_FORM.max_body_bytes, lambda _: None))
    await read_body(request.receive, body.extend, _FORM, reservation)
    (token, *_) = parse_qs(body.decode("utf-8", "replace")).get("token", [""])
    return token.strip()
