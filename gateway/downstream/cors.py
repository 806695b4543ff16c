"""ASGI middleware: CORS, so that scripts of the configured web pages may call."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EXPOSED_HEADERS = (
    "accept-ranges",
    "content-disposition",
    "content-range",
    "etag",
    "idempotent-replayed",
    "location",
    "openai-processing-ms",
    "preference-applied",
    "retry-after",
    "retry-after-ms",
    "server-timing",
    "x-request-id",
    "x-should-retry",
    "x-wan-adjusted",
    "x-wan-cost",
    "x-wan-edit-id",
    "x-wan-ignored-params",
    "x-wan-images",
    "x-wan-region",
    "x-wan-task-id",
    "x-wan-upstream-request-id",
)
_EXPOSED = ", ".join(_EXPOSED_HEADERS).encode()
_METHODS = b"DELETE, GET, HEAD, OPTIONS, POST"
_MAX_AGE = b"7200"  # browsers keep a preflight no longer


class Cors:
    """
    Adds the headers of CORS to every response, errors included.

    Preflights are passed on: the route responds to OPTIONS without a key. Keys are sent in a
    header of their own, not in cookies, so credentials are never allowed.

    Args:
        app: The next ASGI app.
        origins: Exact origins, or ``*`` for any.
    """

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        self._app = app
        self._any = "*" in origins
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        more = self._headers(scope["method"], Headers(scope=scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _headers(self, method: str, request: Headers) -> list[tuple[bytes, bytes]]:
        more = [] if self._any else [(b"vary", b"Origin")]
        origin = request.get("origin", "")
        if not origin or not (self._any or origin in self._origins):
            return more
        allowed = b"*" if self._any else origin.encode("latin-1")
        more += [
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", _EXPOSED),
        ]
        if method == "OPTIONS" and "access-control-request-method" in request:
            wanted = request.get("access-control-request-headers", "")
            more += [
                (b"access-control-allow-methods", _METHODS),
                # As requested: SDKs send a dozen of their own, and * would not cover the key.
                (b"access-control-allow-headers", wanted.encode("latin-1")),
                (b"access-control-max-age", _MAX_AGE),
            ]
        return more
