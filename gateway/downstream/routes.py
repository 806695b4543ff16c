"""
Every path that the gateway answers.

Each is served with and without a slash at its end: a redirect would make a GET of a POST
(openai.md 7.5).
"""

from collections.abc import Iterable

from starlette.routing import Route

from gateway.downstream.edits import Edits
from gateway.downstream.models import Models
from gateway.downstream.ops import Ops
from gateway.downstream.page import Endpoint, Page
from gateway.downstream.ports import EdgeObserver
from gateway.downstream.retired import variations

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
        page = Page(paths[0].replace(":path", ""), by_method, observer)
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
        Route("/{path:path}", Page(_ELSEWHERE, {}, observer)),
    ]


def metrics_routes(ops: Ops, observer: EdgeObserver) -> list[Route]:
    """Return what a port of the metrics' own answers: them, and nothing else."""
    page = Page("/metrics", {"GET": ops.metrics, "HEAD": ops.metrics}, observer)
    elsewhere = Route("/{path:path}", Page(_ELSEWHERE, {}, observer))
    return [Route("/metrics", page), Route("/metrics/", page), elsewhere]


def _below(path: str) -> list[str]:
    return [prefix + path for prefix in _PREFIXES]


def _images(path: str) -> list[str]:
    return [*_below(f"/images{path}"), f"{_DEPLOYMENT}/images{path}"]
