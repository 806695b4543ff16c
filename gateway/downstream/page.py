"""One path of the gateway: its label in metrics, and who answers each method."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.downstream.body import AnswerCut, ClientLeft
from gateway.downstream.ports import EdgeObserver
from gateway.downstream.request_line import line_of

Endpoint = Callable[[Request], Awaitable[ASGIApp]]
"""What it returns is called next: a Response, or what answers at length."""


@dataclass(frozen=True, slots=True)
class Page:
    """
    An ASGI app for a Starlette Route; every request passes exactly one.

    Starlette's own Route knows one endpoint a path, so that its 405 would allow too little.
    """

    route: str
    """A template: what a client types never becomes a label."""
    by_method: Mapping[str, Endpoint]
    """Empty: nothing is here."""
    observer: EdgeObserver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = line_of(scope)
        line.route = self.route
        self.observer.http_request_started(self.route)
        request = Request(scope, receive, send)
        try:
            response = await self._endpoint(request)(request)
            await response(scope, receive, send)
        except ClientLeft:
            line.outcome = "customer_left"
        except AnswerCut:
            return  # without an end: the server closes the connection

    def _endpoint(self, request: Request) -> Endpoint:
        if not self.by_method:
            raise HTTPException(404)
        if (endpoint := self.by_method.get(request.method)) is not None:
            return endpoint
        allow = {"Allow": ", ".join(sorted({*self.by_method, "OPTIONS"}))}
        if request.method == "OPTIONS":
            return partial(_options, allow)
        raise HTTPException(405, headers=allow)


async def _options(allow: Mapping[str, str], _: Request) -> ASGIApp:
    """Answer without a key: browsers ask so before they send one."""
    return Response(status_code=204, headers=dict(allow))
