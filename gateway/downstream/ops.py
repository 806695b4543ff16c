"""The operators' endpoints: liveness, readiness, metrics."""

import hmac
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.domain.errors import InvalidRequest, LedgerUnavailable, UnknownKey
from gateway.downstream.auth import bearer_token
from gateway.edits.lifecycle import draining
from gateway.translate.openai_error import error_body, error_headers

_ALL_TENANTS = "_all"
_STARTING = "The gateway starts and cannot reach its records yet. Send the request again."
_NOT_ALLOWED = "The metrics need the operator's token. Send it as Authorization: Bearer TOKEN."


@dataclass(slots=True)
class Readiness:
    """Whether this process takes new edits: read by /readyz, and the first by every new edit."""

    draining: bool = False
    """Set by Gateway.drain."""
    leaving: bool = False
    """Whether it has handed its edits over: it still passes requests to other nodes."""
    ledger_is_failing: Callable[[], bool] = lambda: False
    """Whether nothing can be written at the moment, so that nothing can be submitted."""

    def refuse_while_draining(self) -> None:
        """
        Refuse a new edit while the running ones end.

        Raises:
            Draining: the process is about to stop; another one takes the retry.
        """
        if self.draining:
            raise draining(retry_after=1.0)


async def not_ready(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as long as the ledger cannot be used: alive, not ready, and every other path 503."""
    if scope["path"] == "/healthz":
        response: Response = JSONResponse({"status": "ok"})
    elif scope["path"] == "/readyz":
        response = JSONResponse({"status": "starting"}, status_code=503)
    else:
        error = LedgerUnavailable(_STARTING, retry_after=2.0)
        headers = error_headers(error) | {"content-type": "application/json"}
        response = Response(error_body(error, ""), error.status, headers)
    await response(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Ops:
    readiness: Readiness
    registry: CollectorRegistry
    token: str | None = field(default=None, repr=False)
    """The scraper's bearer token; ``None``: it needs none."""
    shows_tenants: bool = True
    """Whether the tenants' names are shown; otherwise their series are added up."""

    async def health(self, _: Request) -> Response:
        """Return 200 as long as the process can respond at all."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Return 200, or 503 so that a balancer sends requests elsewhere (P16)."""
        if self.readiness.draining or self.readiness.leaving:
            return JSONResponse({"status": "draining"}, status_code=503)
        if self.readiness.ledger_is_failing():
            return JSONResponse({"status": "ledger_failing"}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """
        Return the metrics in the format that the scraper accepts: Prometheus' text or OpenMetrics.

        Raises:
            UnknownKey: the token is missing or wrong.
            InvalidRequest: the Accept header cannot be read.
        """
        token = bearer_token(request.headers).encode("latin-1")
        if self.token is not None and not hmac.compare_digest(token, self.token.encode("ascii")):
            raise UnknownKey(_NOT_ALLOWED)
        shown: Collector = self.registry if self.shows_tenants else _AsOneTenant(self.registry)
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except (TypeError, ValueError):  # of a version that is not a number
            raise InvalidRequest("The header 'Accept' names an unknown version.") from None
        # Not through Response's media_type: it would add a second charset.
        return Response(encode(shown), headers={"content-type": content_type})


@dataclass(frozen=True, slots=True)
class _AsOneTenant(Collector):
    """A registry whose tenants are added up, so that their names are not shown."""

    registry: CollectorRegistry

    def collect(self) -> Iterator[Metric]:
        for metric in self.registry.collect():
            sums: defaultdict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
            for sample in metric.samples:
                labels = {
                    name: _ALL_TENANTS if name == "tenant" else value
                    for name, value in sample.labels.items()
                }
                sums[sample.name, tuple(labels.items())] += sample.value
            shown = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            for (name, pairs), value in sums.items():
                shown.add_sample(name, dict(pairs), value)
            yield shown
