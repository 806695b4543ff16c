"""A simulated DashScope region as an ASGI app, with its routes."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.sandbox.admin import admin_routes
from gateway.sandbox.calls import ApiCall, handler
from gateway.sandbox.checks import invalid
from gateway.sandbox.config import RealClock, SandboxClock, SandboxConfig
from gateway.sandbox.faults import Operation
from gateway.sandbox.models import ASYNCHRONOUS_PATHS, SYNCHRONOUS_PATH
from gateway.sandbox.object_storage_calls import (
    UPLOAD_PATH,
    create_policy,
    download,
    refuse_access,
    upload,
)
from gateway.sandbox.region import SimulatedRegion
from gateway.sandbox.responses import Refusal, refuse
from gateway.sandbox.submits import submit, submit_synchronous
from gateway.sandbox.task_calls import cancel, list_tasks, query

_API = "/api/v1"


def create_sandbox(
    config: SandboxConfig | None = None, *, clock: SandboxClock | None = None
) -> Starlette:
    """
    Create a region. This does no I/O.

    Args:
        config: None is one account with the key ``sk-sandbox``.
        clock: The time; a test passes one that it moves itself.

    Returns:
        An app to mount, to serve, or to call in process; there, a cut connection raises `PeerCut`.
    """
    region = SimulatedRegion(config or SandboxConfig(), clock or RealClock())

    def route(
        path: str,
        on: Operation,
        operate: Callable[[ApiCall], Awaitable[Response]],
        method: str = "GET",
    ) -> Route:
        return Route(path, handler(region, on, operate), methods=[method])

    async def not_found(_: Request, __: Exception) -> Response:
        return refuse(region.request_id(), Refusal(404, "NotFound", "Not found!"))

    async def wrong_method(request: Request, _: Exception) -> Response:
        text = f"Request method '{request.method}' is not supported."
        return refuse(region.request_id(), invalid(text))

    return Starlette(
        routes=[
            *(
                route(f"{_API}{path}", "submit", partial(submit, path=path), "POST")
                for path in ASYNCHRONOUS_PATHS
            ),
            route(f"{_API}{SYNCHRONOUS_PATH}", "submit", submit_synchronous, "POST"),
            *(route(f"{_API}/tasks{end}", "list", list_tasks) for end in ("", "/")),
            route(f"{_API}/tasks/{{task_id}}", "query", query),
            route(f"{_API}/tasks/{{task_id}}/cancel", "cancel", cancel, "POST"),
            route(f"{_API}/uploads", "upload", create_policy),
            route(UPLOAD_PATH, "upload", upload, "POST"),
            route(f"{UPLOAD_PATH}/{{path:path}}", "upload", refuse_access),
            route("/results/{path:path}", "download", download),
            *admin_routes(region),
        ],
        exception_handlers={404: not_found, 405: wrong_method},
    )
