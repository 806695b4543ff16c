"""
Every path that the gateway answers.

Each is served with and without a slash at its end: a redirect would make a GET of a POST
(openai.md 7.5).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.domain.errors import Gone, NotFound
from gateway.domain.models import Catalog
from gateway.downstream.access_record import record_of
from gateway.downstream.auth import Keyring
from gateway.downstream.body import AnswerCut, ClientLeft
from gateway.downstream.edits import Edits
from gateway.downstream.ops import Ops
from gateway.downstream.ports import EdgeObserver
from gateway.translate.openai_response import model_answer, models_answer

Endpoint = Callable[[Request], Awaitable[ASGIApp]]
"""What it returns is called next: a Response, or what answers at length."""


@dataclass(frozen=True, slots=True)
class MethodRouter:
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
        line = record_of(scope)
        line.route = self.route
        if not line.via:
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


# 2025-09-23, when wan2.5 came out: SDKs require the field, nobody reads it.
_CREATED = 1_758_585_600
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Models:
    keyring: Keyring
    names: Sequence[str]
    """Every name that may be asked for, DashScope's own first."""
    catalogs: Sequence[Catalog] = ()
    """What is done at each path: a name that one of them takes exists, listed or not."""

    async def get_all(self, request: Request) -> Response:
        self._admit(request)
        return Response(models_answer(self.names, created=_CREATED), media_type=_JSON)

    async def get(self, request: Request) -> Response:
        """
        Answer one model.

        Raises:
            NotFound: there is none of that name.
        """
        self._admit(request)
        name = request.path_params["id"].rstrip("/")
        if name not in self.names and not any(catalog.model_of(name) for catalog in self.catalogs):
            raise NotFound(
                f"The model `{name}` does not exist or you do not have access to it.",
                code="model_not_found",
            )
        return Response(model_answer(name, created=_CREATED), media_type=_JSON)

    def _admit(self, request: Request) -> None:
        record_of(request.scope).tenant = self.keyring.tenant_of(request.headers).name


async def variations(_: Request) -> ASGIApp:
    """
    Answer nothing.

    Raises:
        Gone: always.
    """
    raise Gone(
        "Image variations are no longer made, by OpenAI or here. Send the image to "
        "/v1/images/edits with a prompt that says what to vary."
    )


_ELSEWHERE = "_other"
_PREFIXES = ("/v1", "", "/openai/v1", "/openai")
"""OpenAI's; a base URL without it; Azure's of today; Azure's of before (openai.md 5.5)."""
_DEPLOYMENT = "/openai/deployments/{deployment}"


def routes(
    edits: Edits,
    generations: Edits,
    models: Models,
    ops: Ops,
    observer: EdgeObserver,
    *,
    metrics_here: bool = True,
    more: Iterable[Route] = (),
) -> list[Route]:
    """Return the routes, the last for all else; the router's ``redirect_slashes`` must be off."""

    def serve(*paths: str, **by_method: Endpoint) -> list[Route]:
        if "GET" in by_method:
            by_method.setdefault("HEAD", by_method["GET"])
        page = MethodRouter(paths[0].replace(":path", ""), by_method, observer)
        return [Route(path + end, page) for path in paths for end in ("", "/")]

    def images(path: str, at: Edits) -> list[Route]:
        known = _images(path + "/{edit_id}")
        return [
            *serve(*_images(path), POST=at.post),
            *serve(*known, GET=at.get, HEAD=at.head, DELETE=at.delete),
        ]

    return [
        *images("/edits", edits),
        *images("/generations", generations),
        *serve(*_images("/variations"), POST=variations),
        *serve(*_below("/models"), GET=models.get_all),
        *serve(*_below("/models/{id:path}"), GET=models.get),
        *serve("/healthz", GET=ops.health),
        *serve("/readyz", GET=ops.ready),
        *(serve("/metrics", GET=ops.metrics) if metrics_here else ()),
        *more,
        Route("/{path:path}", MethodRouter(_ELSEWHERE, {}, observer)),
    ]


def metrics_routes(ops: Ops, observer: EdgeObserver) -> list[Route]:
    """Return what a port of the metrics' own answers: them, and nothing else."""
    page = MethodRouter("/metrics", {"GET": ops.metrics, "HEAD": ops.metrics}, observer)
    elsewhere = Route("/{path:path}", MethodRouter(_ELSEWHERE, {}, observer))
    return [Route("/metrics", page), Route("/metrics/", page), elsewhere]


def _below(path: str) -> list[str]:
    return [prefix + path for prefix in _PREFIXES]


def _images(path: str) -> list[str]:
    return [*_below(f"/images{path}"), f"{_DEPLOYMENT}/images{path}"]
