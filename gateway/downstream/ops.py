"""The operators' pages: does the process live, is it ready, what has it counted."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.downstream.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Ops:
    readiness: Readiness
    registry: CollectorRegistry

    async def health(self, _: Request) -> Response:
        """Answer 200 as long as the process can answer at all."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Answer 200, or 503 while draining, so that a balancer looks elsewhere."""
        if self.readiness.draining:
            return JSONResponse({"status": "draining"}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """Answer the exposition that the scraper accepts: Prometheus' text or OpenMetrics."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # Not through Response's media_type: it would add a second charset.
        return Response(encode(self.registry), headers={"content-type": content_type})
