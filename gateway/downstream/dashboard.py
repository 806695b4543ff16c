"""The dashboard: a page, its files, its stream of states, and the form that opens it."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import parse_qs

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import __version__
from gateway.domain.clock import Clock
from gateway.domain.errors import NotFound, UnknownKey
from gateway.domain.snapshot import Snapshot
from gateway.downstream.answered import Answered
from gateway.downstream.body import Limits, pour
from gateway.downstream.bytes_budget import Bytes, Share
from gateway.downstream.dashboard_door import COOKIE, SESSION_SECONDS, Door
from gateway.downstream.delivery import send_head
from gateway.downstream.disconnect import DisconnectWatch
from gateway.downstream.page import Endpoint, Page
from gateway.downstream.ports import EdgeObserver, EditService, LineLog
from gateway.downstream.readiness import Readiness
from gateway.downstream.thumbnails import Shrink, Thumbnails, WatchedService
from gateway.downstream.viewers import Viewers

PATH = "/dashboard"
_EVENTS = f"{PATH}/events"
_FORM = Limits(max_body_bytes=4096, body_seconds=10, idle_body_seconds=5)
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_STATIC = ("dashboard.css", "dashboard.js", "elements.js", "icon.svg")
_SAFE = {
    # Nothing from elsewhere, nothing inline, and no text ever becomes HTML.
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


class Seen(Protocol):
    """Who can be looked at."""

    def snapshot(self) -> Snapshot: ...


class SeenService(EditService, Seen, Protocol):
    """Who has the edits; gateway.edits.service answers it."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything that a viewer may see, as JSON."""

    service: Seen
    answered: Answered
    budget: Bytes
    readiness: Readiness
    thumbnails: Thumbnails | None

    def __call__(self) -> bytes:
        return orjson.dumps(
            {
                "version": __version__,
                "draining": self.readiness.draining,
                "bytes": {"held": self.budget.held, "limit": self.budget.limit},
                "edits": self.service.snapshot(),
                "answered": self.answered.lately(),
                "thumbnails": self.thumbnails.known() if self.thumbnails else (),
            }
        )


@dataclass(frozen=True, slots=True)
class Dashboard:
    """
    Every path below /dashboard.

    Whoever may not look gets the envelope of every other refusal; only a browser that opens
    the page itself gets the form instead.
    """

    door: Door
    viewers: Viewers
    config: str
    """What the config means, in words, without a key."""
    log: LineLog
    """To be told of every request in place of the log itself."""
    service: EditService
    """For the door in, in place of the service itself."""
    thumbnails: Thumbnails | None

    @property
    def works(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside, as long as the process serves."""
        return (self.thumbnails.run,) if self.thumbnails else ()

    def close(self) -> None:
        """End every stream: the process stops."""
        self.viewers.close()

    def routes(self, observer: EdgeObserver) -> list[Route]:
        def serve(path: str, label: str = PATH, **by_method: Endpoint) -> Route:
            by_method.setdefault("HEAD", by_method["GET"])
            return Route(path, Page(label, by_method, observer))

        return [
            *(serve(it, GET=self.page, POST=self.sign_in) for it in (PATH, f"{PATH}/")),
            serve(_EVENTS, _EVENTS, GET=self.events, HEAD=self.snapshot),
            serve(f"{PATH}/snapshot", GET=self.snapshot),
            serve(f"{PATH}/config", GET=self.meaning),
            serve(f"{PATH}/thumbnails/{{edit_id}}", GET=self.thumbnail),
            serve(f"{PATH}/{{file}}", GET=self.file),
        ]

    async def page(self, request: Request) -> Response:
        """Answer the page, or the form where the token is missing."""
        try:
            self.door.check(request, navigation=True)
        except UnknownKey:
            return _form("")
        return _html(_file("dashboard.html"))

    async def sign_in(self, request: Request) -> Response:
        """Change the token for a cookie that no script can read."""
        self.door.check_place(request)
        if not self.door.fits(await _token_of(request)):
            return _form("That is not the token.")
        cookie = (
            f"{COOKIE}={self.door.session()}; Path={PATH}; Max-Age={SESSION_SECONDS}; "
            "HttpOnly; SameSite=Strict"
        )
        if request.headers.get("x-forwarded-proto", request.url.scheme) == "https":
            cookie += "; Secure"
        headers = {**_SAFE, "location": PATH, "set-cookie": cookie}
        return Response(status_code=303, headers=headers)

    async def events(self, request: Request) -> ASGIApp:
        """Stream states until the viewer leaves."""
        self.door.check(request)
        self.viewers.admit()
        return self._stream

    async def snapshot(self, request: Request) -> Response:
        """Answer one state."""
        self.door.check(request)
        return Response(self.viewers.state(), headers=_SAFE, media_type="application/json")

    async def meaning(self, request: Request) -> Response:
        """Answer what the config means."""
        self.door.check(request)
        return Response(self.config, headers=_SAFE, media_type="text/plain")

    async def thumbnail(self, request: Request) -> Response:
        """Answer a small picture of what is edited."""
        self.door.check(request)
        picture = self.thumbnails and self.thumbnails.of(request.path_params["edit_id"])
        if not picture:
            raise NotFound("There is no such picture (any more).")
        return Response(picture, headers=_SAFE, media_type="image/webp")

    async def file(self, request: Request) -> Response:
        """Answer a file of the page; the form needs them too, and they tell nothing."""
        self.door.check_place(request)
        name = request.path_params["file"]
        if name not in _STATIC:
            raise NotFound("The dashboard has no such file.")
        return Response(_file(name), headers=_SAFE, media_type=_TYPES[name.rpartition(".")[2]])

    async def _stream(self, _: Scope, receive: Receive, send: Send) -> None:
        await send_head(send, _STREAM)
        async with DisconnectWatch(receive) as client:
            await self.viewers.show(send, client)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def open_dashboard(
    *,
    token: str | None,
    config: str,
    service: SeenService,
    log: LineLog,
    budget: Bytes,
    readiness: Readiness,
    shrink: Shrink | None,
    clock: Clock,
) -> Dashboard:
    """
    Put the dashboard together.

    Args:
        token: What opens it; ``None``: this machine alone.
        config: What the config means, in words.
        service: Who has the edits.
        log: Who writes a line for each request.
        budget: The bytes in flight.
        readiness: Whether the process drains.
        shrink: Makes small pictures; ``None``: there are to be none.
        clock: Time.
    """
    answered = Answered(log)
    thumbnails = Thumbnails(shrink, lambda: viewers.present > 0) if shrink else None
    viewers = Viewers(Look(service, answered, budget, readiness, thumbnails), clock)
    shown = WatchedService(service, thumbnails) if thumbnails else service
    return Dashboard(Door(token, clock), viewers, config, answered, shown, thumbnails)


@cache
def _file(name: str) -> bytes:
    return files("gateway.downstream").joinpath("static", name).read_bytes()


def _html(content: bytes, status: int = 200) -> Response:
    return Response(content, status, headers=_SAFE, media_type="text/html")


def _form(message: str) -> Response:
    """Answer the form; *message* is ours, so it needs no escaping."""
    return _html(_file("sign_in.html").replace(b"{message}", message.encode()), 401)


async def _token_of(request: Request) -> str:
    """
    Return the form's one field.

    Raises:
        RequestTooLarge: no token is so long.
    """
    body = bytearray()
    share = Share(Bytes(_FORM.max_body_bytes, lambda _: None))
    await pour(request.receive, body.extend, _FORM, share)
    (token, *_) = parse_qs(body.decode("utf-8", "replace")).get("token", [""])
    return token.strip()
