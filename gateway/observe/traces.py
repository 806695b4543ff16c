"""
Traces for OpenTelemetry: a span for each edit, sent to a collector in the background.

Imported only if the config asks for traces. docs/traces.md lists spans and attributes.
"""

import logging
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import Self

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway import __version__
from gateway.domain.clock import Clock
from gateway.domain.edit import Edit
from gateway.domain.tenant import Tenant
from gateway.domain.trace import UNTRACED, Trace, Tracer
from gateway.observe.spans import Attributes, SpanTrace, at

_OPERATION = "image_edit"  # the semantic conventions have no word for it yet
_PATH = "/v1/traces"
_MOST_EVENTS = 64  # of one span, the last ones: late polls say more than early ones
_FLUSH_SECONDS = 5.0
_FLUSH_POLL_SECONDS = 0.05
_W3C = ("traceparent", "tracestate")


def tracer_to(
    endpoint: str, headers: Mapping[str, str], sample: float | None, clock: Clock
) -> "SpanTracer":
    """
    Return a tracer that exports to a collector; OTEL_* variables set what is left out here.

    Args:
        endpoint: The collector's URL; OTLP's path is added if it is missing.
        headers: Sent with each export.
        sample: Share of new traces that is kept; ``None``: by OTEL_TRACES_SAMPLER.
        clock: Times the spans.
    """
    # It would log every failed batch; LoggingExporter logs the first one, and the recovery.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    url = endpoint if endpoint.endswith(_PATH) else endpoint + _PATH
    named = {"service.name": "wan-gateway", "service.version": __version__}
    provider = TracerProvider(
        sampler=None if sample is None else ParentBased(TraceIdRatioBased(sample)),
        resource=Resource.create(named).merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_events=_MOST_EVENTS),
    )
    exporter = OTLPSpanExporter(url, headers=dict(headers) or None)
    return SpanTracer(provider, LoggingExporter(exporter), clock)


class LoggingExporter(SpanExporter):
    """Logs when *exporter* begins to fail, and when it works again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._fails = False
        self._log = structlog.get_logger("gateway.traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            self._log.warning("traces_not_exported", spans=len(spans))
        elif self._fails and not fails:
            self._log.info("traces_exported_again")
        self._fails = fails
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class SpanTracer(Tracer):
    """
    Implements gateway.domain.trace.Tracer with OpenTelemetry's spans.

    Args:
        provider: Makes spans; shut down at the end.
        exporter: Sends them, from a thread with a bounded queue.
        clock: Times the spans; each trace reads the calendar once.
    """

    def __init__(self, provider: TracerProvider, exporter: SpanExporter, clock: Clock) -> None:
        self._provider = provider
        self._exporter = exporter
        self._spans = provider.get_tracer("wan-gateway", __version__)
        self._clock = clock
        self._open: set[SpanTrace] = set()

    async def __aenter__(self) -> Self:
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End open spans and export the rest, for at most 5 seconds."""
        for trace in list(self._open):
            trace.interrupt()
        # A daemon thread: the event loop's executor would delay the end of the process.
        flush = Thread(target=self._provider.shutdown, daemon=True)
        flush.start()
        until = self._clock.now() + _FLUSH_SECONDS
        while flush.is_alive():
            if self._clock.now() >= until:
                structlog.get_logger("gateway.traces").warning("traces_not_flushed")
                return
            await self._clock.sleep(_FLUSH_POLL_SECONDS)

    def parent_trace(self, headers: Mapping[str, str]) -> object:
        carrier = {name: value for name in _W3C if (value := headers.get(name))}
        if not carrier:
            return None
        return TraceContextTextMapPropagator().extract(carrier, Context())

    def begin(
        self, edit_id: str, tenant: Tenant, edit: Edit, *, parent_trace: object, since: float | None
    ) -> Trace:
        now = self._clock.now()
        attributes: Attributes = {
            "gen_ai.operation.name": _OPERATION,
            "gen_ai.provider.name": "alibaba.dashscope",
            "gen_ai.output.type": "image",
            "gen_ai.request.model": edit.model,
            "gen_ai.request.choice.count": edit.n,
            "wan_gateway.recovered": since is None,
        }
        trace = self._trace(
            f"{_OPERATION} {edit.model}",
            edit_id,
            tenant,
            attributes,
            parent_trace=parent_trace,
            since=now if since is None else since,
        )
        if trace is None:
            return UNTRACED
        trace.carries(edit, connected=since is not None)
        return trace

    def join(self, joined: Trace, edit_id: str, tenant: Tenant, *, parent_trace: object) -> Trace:
        links = [Link(joined.span.get_span_context())] if isinstance(joined, SpanTrace) else []
        name = f"{_OPERATION} joined"
        now = self._clock.now()
        trace = self._trace(
            name, edit_id, tenant, {}, parent_trace=parent_trace, since=now, links=links
        )
        return UNTRACED if trace is None else trace

    def _trace(
        self,
        name: str,
        edit_id: str,
        tenant: Tenant,
        attributes: Attributes,
        *,
        parent_trace: object,
        since: float,
        links: Sequence[Link] = (),
    ) -> SpanTrace | None:
        """Start a root span of ours; return ``None`` if it is not sampled."""
        zero = self._clock.epoch() - self._clock.now()
        span = self._spans.start_span(
            name,
            context=parent_trace if isinstance(parent_trace, Context) else Context(),
            kind=SpanKind.SERVER,
            attributes={
                **attributes,
                "wan_gateway.edit_id": edit_id,
                "wan_gateway.tenant": tenant.name,
                "wan_gateway.region": tenant.region,
            },
            links=links,
            start_time=at(zero, since),
        )
        if not span.is_recording():
            return None
        trace = SpanTrace(
            self._spans, span, clock=self._clock, zero=zero, on_end=self._open.discard
        )
        self._open.add(trace)
        return trace
