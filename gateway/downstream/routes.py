"""
Every path that the gateway serves.

Each is served with and without a slash at its end: a redirect would make a GET of a POST
(openai.md 7.5).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.domain.errors import Gone, NotFound
from gateway.downstream.access_record import record_of
from gateway.downstream.auth import Keyring
from gateway.downstream.disconnect import ClientLeft
from gateway.downstream.openapi import openapi_document
from gateway.downstream.ops import Ops
from gateway.downstream.ports import EdgeObserver
from gateway.downstream.reply import ReplyCut
from gateway.downstream.result_files import ResultFiles
from gateway.translate.openai_response import model_answer, models_answer

_UNKNOWN = "_other"
_PREFIXES = ("/v1", "", "/openai/v1", "/openai")
"""OpenAI's; a base URL without it; Azure's of today; Azure's of before (openai.md 5.5)."""
_DEPLOYMENT = "/openai/deployments/{deployment}"

# 2025-09-23, when wan2.5 came out: SDKs require the field and do not use it.
_CREATED = 1_758_585_600
_JSON = "application/json"

Endpoint = Callable[[Request], Awaitable[ASGIApp]]
"""Its result is called next: a Response, or an ASGI app that sends for a long time."""


@dataclass(frozen=True, slots=True)
class MethodRouter:
    """
    Calls the endpoint of a request's method; every request passes exactly one.

    Starlette's own Route has one endpoint a path, so its 405 would list too few methods.
    """

    route: str
    """The path's template, for metrics: what a client types never becomes a label."""
    by_method: Mapping[str, Endpoint]
    """Empty: the path is unknown."""
    observer: EdgeObserver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_of(scope)
        record.route = self.route
        if not record.via:
            self.observer.http_request_started(self.route)
        request = Request(scope, receive, send)
        try:
            response = await self._endpoint(request)(request)
            await response(scope, receive, send)
        except ClientLeft:
            record.outcome = "customer_left"
        except ReplyCut:
            return  # the response has no end, so the server closes the connection

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
    """Respond without a key: browsers send a preflight without one."""
    return Response(status_code=204, headers=dict(allow))


class EditEndpoints(Protocol):
    """The endpoints of one path; gateway.downstream.edits implements it."""

    @property
    def post(self) -> Endpoint: ...
    @property
    def get(self) -> Endpoint: ...
    @property
    def head(self) -> Endpoint: ...
    @property
    def delete(self) -> Endpoint: ...


@dataclass(frozen=True, slots=True)
class Models:
    """The model list, which Dify, n8n and LobeChat ask for before they send anything."""

    keyring: Keyring

    async def get_all(self, request: Request) -> Response:
        """Return every name that the client's requests may have, DashScope's own first."""
        catalogs = self.keyring.authenticate(request).catalogs.values()
        models = {name: model for catalog in catalogs for name, model in catalog.models.items()}
        own = [name for name, model in models.items() if name == model.name]
        names = [*own, *sorted(models.keys() - own)]
        return Response(models_answer(names, created=_CREATED), media_type=_JSON)

    async def get(self, request: Request) -> Response:
        """
        Return one model, also under a name of OpenAI's that is not listed.

        Raises:
            NotFound: there is no model of that name, or this client may not use it.
        """
        catalogs = self.keyring.authenticate(request).catalogs.values()
        name = request.path_params["id"].rstrip("/")
        if not any(catalog.model_of(name) for catalog in catalogs):
            raise NotFound(
                f"The model `{name}` does not exist or you do not have access to it.",
                code="model_not_found",
            )
        return Response(model_answer(name, created=_CREATED), media_type=_JSON)


async def describe(_: Request) -> ASGIApp:
    """Return the OpenAPI document, without a key: nothing of a config is in it."""
    return Response(openapi_document(), media_type=_JSON)


async def variations(_: Request) -> ASGIApp:
    """
    Refuse what OpenAI has taken out of its API.

    Raises:
        Gone: always.
    """
    raise Gone(
        "Image variations are no longer made, by OpenAI or here. Send the image to "
        "/v1/images/edits with a prompt that says what to vary."
    )


def routes(
    edits: EditEndpoints,
    generations: EditEndpoints,
    models: Models,
    ops: Ops,
    observer: EdgeObserver,
    *,
    with_metrics: bool = True,
    results: ResultFiles | None = None,
    more: Iterable[Route] = (),
) -> list[Route]:
    """Return the routes; ``redirect_slashes`` of the router must be off."""

    def serve(*paths: str, **by_method: Endpoint) -> list[Route]:
        if "GET" in by_method:
            by_method.setdefault("HEAD", by_method["GET"])
        router = MethodRouter(paths[0].replace(":path", ""), by_method, observer)
        return [Route(path + end, router) for path in paths for end in ("", "/")]

    def images(path: str, endpoints: EditEndpoints) -> list[Route]:
        by_id = _images(path + "/{edit_id}")
        return [
            *serve(*_images(path), POST=endpoints.post),
            *serve(*by_id, GET=endpoints.get, HEAD=endpoints.head, DELETE=endpoints.delete),
        ]

    def kept(files: ResultFiles) -> list[Route]:
        by_name = _images("/results/{name}")
        return [
            *serve(*_images("/results"), DELETE=files.delete_all),
            *serve(*by_name, GET=files.get, HEAD=files.get, DELETE=files.delete),
        ]

    return [
        *images("/edits", edits),
        *images("/generations", generations),
        *serve(*_images("/variations"), POST=variations),
        *(kept(results) if results is not None else ()),
        *serve(*_below("/models"), GET=models.get_all),
        *serve(*_below("/models/{id:path}"), GET=models.get),
        *serve("/openapi.json", GET=describe),
        *serve("/healthz", GET=ops.health),
        *serve("/readyz", GET=ops.ready),
        *(serve("/metrics", GET=ops.metrics) if with_metrics else ()),
        *more,
        Route("/{path:path}", MethodRouter(_UNKNOWN, {}, observer)),
    ]


def metrics_routes(ops: Ops, observer: EdgeObserver) -> list[Route]:
    """Return the routes of a port of its own for metrics."""
    router = MethodRouter("/metrics", {"GET": ops.metrics, "HEAD": ops.metrics}, observer)
    unknown = Route("/{path:path}", MethodRouter(_UNKNOWN, {}, observer))
    return [Route("/metrics", router), Route("/metrics/", router), unknown]


def _below(path: str) -> list[str]:
    return [prefix + path for prefix in _PREFIXES]


def _images(path: str) -> list[str]:
    return [*_below(f"/images{path}"), f"{_DEPLOYMENT}/images{path}"]
