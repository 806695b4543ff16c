"""A simulated DashScope region as an ASGI app: every object made once, and the routes."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox.admin import admin_routes
from gateway.sandbox.calls import Call, door
from gateway.sandbox.checks import invalid
from gateway.sandbox.config import Clock, RealClock, SandboxConfig
from gateway.sandbox.faults import Operation
from gateway.sandbox.models import AT_ONCE, PATHS
from gateway.sandbox.object_storage_calls import UPLOAD_PATH, closed, download, policy, upload
from gateway.sandbox.region import Region
from gateway.sandbox.responses import Refusal, refuse
from gateway.sandbox.submits import generate, submit
from gateway.sandbox.task_calls import cancel, list_tasks, query

_API = "/api/v1"


def create_sandbox(config: SandboxConfig | None = None, *, clock: Clock | None = None) -> Starlette:
    """
    Build a region. Neither this nor importing this module does any I/O.

    Args:
        config: What the region is told; None is one account with the key ``sk-sandbox``.
        clock: Time; a test hands in one that it moves.

    Returns:
        An app to mount, serve, or call in process, where a cut connection raises `PeerCut`.
    """
    region = Region(config or SandboxConfig(), clock or RealClock())

    def route(
        path: str, on: Operation, answer: Callable[[Call], Awaitable[Response]], method: str = "GET"
    ) -> Route:
        return Route(path, door(region, on, answer), methods=[method])

    async def not_found(_: Request, __: Exception) -> Response:
        return refuse(region.request_id(), Refusal(404, "NotFound", "Not found!"))

    async def wrong_method(request: Request, _: Exception) -> Response:
        text = f"Request method '{request.method}' is not supported."
        return refuse(region.request_id(), invalid(text))

    return Starlette(
        routes=[
            *(route(f"{_API}{it}", "submit", partial(submit, path=it), "POST") for it in PATHS),
            route(f"{_API}{AT_ONCE}", "submit", generate, "POST"),
            *(route(f"{_API}/tasks{end}", "list", list_tasks) for end in ("", "/")),
            route(f"{_API}/tasks/{{task_id}}", "query", query),
            route(f"{_API}/tasks/{{task_id}}/cancel", "cancel", cancel, "POST"),
            route(f"{_API}/uploads", "upload", policy),
            route(UPLOAD_PATH, "upload", upload, "POST"),
            route(f"{UPLOAD_PATH}/{{path:path}}", "upload", closed),
            route("/results/{path:path}", "download", download),
            *admin_routes(region),
        ],
        exception_handlers={404: not_found, 405: wrong_method},
    )
