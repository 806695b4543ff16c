"""
The admin door ``/_sandbox``: the books, the faults, the latency, as JSON.

No key is asked: the sandbox holds nothing but what tests put in.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox.config import read_latency
from gateway.sandbox.faults import read_fault
from gateway.sandbox.region import Region


def admin_routes(region: Region) -> list[Route]:
    """
    Make the routes.

    - ``GET /_sandbox/health``: ``{"region"}``
    - ``GET /_sandbox/books``: see `Books.show`
    - ``GET /_sandbox/faults``, ``POST`` (one rule or a list: add), ``PUT`` (replace), ``DELETE``
    - ``GET /_sandbox/latency``, ``PUT`` (see `read_latency`)

    A body that cannot be read is answered 400 ``{"error": text}``.
    """
    admin = _Admin(region)
    return [
        Route("/_sandbox/health", admin.health),
        Route("/_sandbox/books", admin.books),
        Route("/_sandbox/faults", admin.faults, methods=["GET", "POST", "PUT", "DELETE"]),
        Route("/_sandbox/latency", admin.latency, methods=["GET", "PUT"]),
    ]


class _Admin:
    def __init__(self, region: Region) -> None:
        self._region = region

    async def health(self, _: Request) -> Response:
        return _json({"region": self._region.config.region})

    async def books(self, _: Request) -> Response:
        region = self._region
        shown = region.books.show(region.settled_now(), region.zero)
        return _json({"region": region.config.region, **shown})

    async def faults(self, request: Request) -> Response:
        body = await request.body()
        return _guarded(lambda: self._change_faults(request.method, body))

    def _change_faults(self, method: str, body: bytes) -> Any:
        book = self._region.faults
        if method in {"POST", "PUT"}:
            tables = orjson.loads(body)
            faults = [read_fault(table) for table in _rows(tables)]
            if method == "PUT":
                book.clear()
            book.add(*faults)
        if method == "DELETE":
            book.clear()
        return book.show()

    async def latency(self, request: Request) -> Response:
        body = await request.body()
        return _guarded(lambda: self._change_latency(request.method, body))

    def _change_latency(self, method: str, body: bytes) -> Any:
        if method == "PUT":
            (table,) = _rows(orjson.loads(body))
            self._region.latency = read_latency(table)
        latency = self._region.latency
        return {"kind": latency.kind, **asdict(latency)}


def _rows(value: Any) -> list[dict[str, Any]]:
    rows = value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("the body is a JSON object or a list of them")
    return rows


def _guarded(act: Callable[[], Any]) -> Response:
    try:
        return _json(act())
    except ValueError as exc:
        return _json({"error": str(exc)}, status=400)


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
