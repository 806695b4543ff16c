"""A collector of traces on loopback, that decodes what it gets and keeps it."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan


@dataclass(frozen=True, slots=True)
class CollectedSpan:
    """One span, in plain words."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    kind: str
    start: int
    end: int
    """Nanoseconds of the calendar, both."""
    attributes: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    lost_events: int
    links: tuple[tuple[str, str], ...]
    """Trace and span."""
    error: str | None
    """What the status says, of one that failed."""
    state: str


@dataclass(slots=True)
class TraceCollector:
    url: str = ""
    status: int = 200
    """What it answers."""
    spans: list[CollectedSpan] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that came, as whoever looks for secrets reads it."""
        return b"\n".join(self.bodies).decode("latin-1")

    def root(self) -> CollectedSpan:
        """The span of the one edit."""
        (root,) = (span for span in self.spans if span.name.startswith("image_edit wan"))
        return root

    def below(self, span: CollectedSpan) -> list[CollectedSpan]:
        """The children of *span*, in the order in which they began."""
        children = (one for one in self.spans if one.parent == span.span_id)
        return sorted(children, key=lambda child: (child.start, child.end))

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        assert path == "/v1/traces"
        assert headers["content-type"] == "application/x-protobuf"
        self.headers.append(headers)
        if self.status != 200:
            return self.status
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(_values(resource.resource.attributes))
            self.spans += [_read(span) for scope in resource.scope_spans for span in scope.spans]
        return 200


@contextmanager
def collector(status: int = 200) -> Iterator[TraceCollector]:
    """Collect for the length of the block."""
    kept = TraceCollector(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = kept.take(self.path, headers, self.rfile.read(length))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()


def traces_table(kept: TraceCollector, **more: object) -> dict[str, object]:
    """The [traces] of a config that sends to *kept*."""
    return {"endpoint": kept.url, **more}


def _read(span: WireSpan) -> CollectedSpan:
    return CollectedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        events=tuple((event.name, _values(event.attributes)) for event in span.events),
        lost_events=span.dropped_events_count,
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        error=span.status.message if span.status.code == 2 else None,
        state=span.trace_state,
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, str(kind))
