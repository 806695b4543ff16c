"""Every path that the gateway answers."""

from starlette.routing import Route

from gateway.downstream.edits import Edits
from gateway.downstream.models import Models
from gateway.downstream.ops import Ops
from gateway.downstream.page import Endpoint, Page
from gateway.downstream.ports import EdgeObserver

_ELSEWHERE = "_other"


def routes(edits: Edits, models: Models, ops: Ops, observer: EdgeObserver) -> list[Route]:
    """
    Return the routes for a Starlette whose router has ``redirect_slashes`` off.

    Each path is served with and without a slash at its end, and OpenAI's also without
    ``/v1``: a redirect would make a GET of a POST (openai.md 7.5), and base URLs are often
    set wrong (openai.md 5.5). The last route takes everything else.
    """

    def serve(*paths: str, **by_method: Endpoint) -> list[Route]:
        page = Page(paths[0].replace(":path", ""), by_method, observer)
        return [Route(path + end, page) for path in paths for end in ("", "/")]

    edit, model = "/images/edits/{edit_id}", "/models/{id:path}"
    return [
        *serve("/v1/images/edits", "/images/edits", POST=edits.post),
        *serve(f"/v1{edit}", edit, GET=edits.get, DELETE=edits.delete),
        *serve("/v1/models", "/models", GET=models.get_all),
        *serve(f"/v1{model}", model, GET=models.get),
        *serve("/healthz", GET=ops.health, HEAD=ops.health),
        *serve("/readyz", GET=ops.ready, HEAD=ops.ready),
        *serve("/metrics", GET=ops.metrics, HEAD=ops.metrics),
        Route("/{path:path}", Page(_ELSEWHERE, {}, observer)),
    ]
