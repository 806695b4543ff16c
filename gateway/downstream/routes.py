"""Every path that the gateway answers."""

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
    edits: Edits, models: Models, ops: Ops, observer: EdgeObserver, more: Iterable[Route] = ()
) -> list[Route]:
    """
    Return the routes for a Starlette whose router has ``redirect_slashes`` off.

    Each path is served with and without a slash at its end: a redirect would make a GET of
    a POST (openai.md 7.5). The last route takes everything else.
    """

    def serve(*paths: str, **by_method: Endpoint) -> list[Route]:
        if "GET" in by_method:
            by_method.setdefault("HEAD", by_method["GET"])
        page = Page(paths[0].replace(":path", ""), by_method, observer)
        return [Route(path + end, page) for path in paths for end in ("", "/")]

    edit = _images("/edits/{edit_id}")
    return [
        *serve(*_images("/edits"), POST=edits.post),
        *serve(*edit, GET=edits.get, HEAD=edits.head, DELETE=edits.delete),
        *serve(*_images("/variations"), POST=variations),
        *serve(*_below("/models"), GET=models.get_all),
        *serve(*_below("/models/{id:path}"), GET=models.get),
        *serve("/healthz", GET=ops.health),
        *serve("/readyz", GET=ops.ready),
        *serve("/metrics", GET=ops.metrics),
        *more,
        Route("/{path:path}", Page(_ELSEWHERE, {}, observer)),
    ]


def _below(path: str) -> list[str]:
    return [prefix + path for prefix in _PREFIXES]


def _images(path: str) -> list[str]:
    return [*_below(f"/images{path}"), f"{_DEPLOYMENT}/images{path}"]
