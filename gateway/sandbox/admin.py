"""
The admin API at ``/_sandbox``: tasks and counters, faults and latency, as JSON.

It asks for no key: the sandbox holds nothing but what tests put in.
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
from gateway.sandbox.region import SimulatedRegion
from gateway.sandbox.tasks import SandboxTask


def admin_routes(region: SimulatedRegion) -> list[Route]:
    """
    Make the routes.

    - ``GET /_sandbox/health``: ``{"region"}``
    - ``GET /_sandbox/books``: every task, and how often each operation was called
    - ``GET /_sandbox/faults``, ``POST`` (one rule or a list: add), ``PUT`` (replace), ``DELETE``
    - ``GET /_sandbox/latency``, ``PUT`` (see `read_latency`)

    A body that cannot be read gets 400 ``{"error": text}``.
    """
    admin = _Admin(region)
    return [
        Route("/_sandbox/health", admin.health),
        Route("/_sandbox/books", admin.books),
        Route("/_sandbox/faults", admin.faults, methods=["GET", "POST", "PUT", "DELETE"]),
        Route("/_sandbox/latency", admin.latency, methods=["GET", "PUT"]),
    ]


class _Admin:
    def __init__(self, region: SimulatedRegion) -> None:
        self._region = region

    async def health(self, _: Request) -> Response:
        return _json({"region": self._region.config.region})

    async def books(self, _: Request) -> Response:
        """
        Show all tasks, the expired ones too; chaos runs and benchmarks count in this.

        Times are epoch seconds. Counters are named ``operation.event``: ``submit.received``,
        ``submit.refused``, ``submit.throttled``, ``query.received`` and so on.
        """
        region = self._region
        now = region.advance()
        rows = [_row(task, now, region.epoch_offset) for task in region.tasks.all()]
        return _json(
            {
                "region": region.config.region,
                "counts": dict(sorted(region.counts.items())),
                "tasks_made": len(rows),
                "images_billed": sum(row["images_billed"] for row in rows),
                "downloads": sum(sum(row["downloads"]) for row in rows),
                "tasks": rows,
            }
        )

    async def faults(self, request: Request) -> Response:
        body = await request.body()
        return _respond(lambda: self._change_faults(request.method, body))

    def _change_faults(self, method: str, body: bytes) -> Any:
        faults = self._region.faults
        if method in {"POST", "PUT"}:
            added = [read_fault(table) for table in _tables(orjson.loads(body))]
            if method == "PUT":
                faults.clear()
            faults.add(*added)
        if method == "DELETE":
            faults.clear()
        return faults.show()

    async def latency(self, request: Request) -> Response:
        body = await request.body()
        return _respond(lambda: self._change_latency(request.method, body))

    def _change_latency(self, method: str, body: bytes) -> Any:
        if method == "PUT":
            (table,) = _tables(orjson.loads(body))
            self._region.latency = read_latency(table)
        latency = self._region.latency
        return {"kind": latency.kind, **asdict(latency)}


def _row(task: SandboxTask, now: float, epoch_offset: float) -> dict[str, Any]:
    ended = task.ended
    return {
        "task_id": task.id,
        "request_id": task.request_id,
        "number": task.number,
        "account": task.account,
        "key": task.key,
        "model": task.request.model,
        "answers_at_once": task.synchronous,
        "prompt": task.request.prompt,
        "prompt_sha256": task.request.prompt_sha256,
        "inputs": [picture.kind for picture in task.request.images],
        "inputs_sha256": [picture.sha256 for picture in task.request.images],
        "n": task.request.n,
        "size": list(task.request.size) if task.request.size else None,
        "seed": task.request.seed,
        "submit_time": epoch_offset + task.submitted,
        "start_time": None if task.started is None else epoch_offset + task.started,
        "end_time": None if ended is None or ended > now else epoch_offset + ended,
        "status": task.status(now),
        "images_billed": task.billed(now),
        "downloads": list(task.downloads),
    }


def _tables(value: Any) -> list[dict[str, Any]]:
    tables = value if isinstance(value, list) else [value]
    if not all(isinstance(table, dict) for table in tables):
        raise ValueError("the body is a JSON object or a list of them")
    return tables


def _respond(change: Callable[[], Any]) -> Response:
    try:
        return _json(change())
    except ValueError as exc:
        return _json({"error": str(exc)}, status=400)


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
