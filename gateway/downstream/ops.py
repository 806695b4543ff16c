"""The operators' pages: does the process live, is it ready, what has it counted."""

import hmac
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.domain.errors import InvalidRequest, UnknownKey
from gateway.edits.lifecycle import draining


@dataclass(slots=True)
class Readiness:
    """Whether the process drains: set by Gateway.drain, read by /readyz and by every new edit."""

    draining: bool = False

    def refuse_while_draining(self) -> None:
        """
        Refuse a new edit while the running ones end.

        Raises:
            Draining: the process is about to stop; another takes the retry.
        """
        if self.draining:
            raise draining(retry_after=1.0)


_ALL = "_all"
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
    shows_tenants: bool = True
    """Whether whoever asks may learn the tenants' names; else they are shown as one."""

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
            InvalidRequest: it accepts what nobody can read.
        """
        if self.token is not None and not _presents(request, self.token):
            raise UnknownKey(_KEPT)
        shown: Collector = self.registry if self.shows_tenants else _AsOneTenant(self.registry)
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except (TypeError, ValueError):  # of a version that is not a number
            raise InvalidRequest("The header 'Accept' names an unknown version.") from None
        # Not through Response's media_type: it would add a second charset.
        return Response(encode(shown), headers={"content-type": content_type})


@dataclass(frozen=True, slots=True)
class _AsOneTenant(Collector):
    """A registry whose tenants are added up: their names are the operator's business."""

    registry: CollectorRegistry

    def collect(self) -> Iterator[Metric]:
        for metric in self.registry.collect():
            sums: defaultdict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
            for sample in metric.samples:
                labels = {
                    name: _ALL if name == "tenant" else value
                    for name, value in sample.labels.items()
                }
                sums[sample.name, tuple(labels.items())] += sample.value
            shown = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            for (name, pairs), value in sums.items():
                shown.add_sample(name, dict(pairs), value)
            yield shown


def _presents(request: Request, token: str) -> bool:
    scheme, _, told = request.headers.get("authorization", "").strip().partition(" ")
    known = hmac.compare_digest(told.strip().encode("latin-1"), token.encode("ascii"))
    return known and scheme.lower() == "bearer"
