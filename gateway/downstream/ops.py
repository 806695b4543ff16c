"""The operators' pages: does the process live, is it ready, what has it counted."""

import hmac
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.domain.errors import UnknownKey
from gateway.downstream.readiness import Readiness

_KEPT = (
    "The metrics are kept from those without the operator's token. Send it as "
    "Authorization: Bearer TOKEN."
)


@dataclass(frozen=True, slots=True)
class Ops:
    readiness: Readiness
    registry: CollectorRegistry
    token: str | None = field(default=None, repr=False)
    """What a scraper has to present; ``None``: nothing."""

    async def health(self, _: Request) -> Response:
        """Answer 200 as long as the process can answer at all."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Answer 200, or 503 while draining, so that a balancer looks elsewhere."""
        if self.readiness.draining:
            return JSONResponse({"status": "draining"}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """
        Answer the exposition that the scraper accepts: Prometheus' text or OpenMetrics.

        Raises:
            UnknownKey: the scraper did not present the token.
        """
        if self.token is not None and not _presents(request, self.token):
            raise UnknownKey(_KEPT)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # Not through Response's media_type: it would add a second charset.
        return Response(encode(self.registry), headers={"content-type": content_type})


def _presents(request: Request, token: str) -> bool:
    scheme, _, told = request.headers.get("authorization", "").strip().partition(" ")
    known = hmac.compare_digest(told.strip().encode("latin-1"), token.encode("ascii"))
    return known and scheme.lower() == "bearer"
