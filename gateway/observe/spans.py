"""
The trace of one edit, or of one client that joined it: a span with children.

Spans hold names from the config, ids, counts and codes; never a prompt, a key or a picture's
URL (P13).
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanKind,
    Status,
    StatusCode,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as Spans
from opentelemetry.util.types import AttributeValue

from gateway.domain.clock import Clock
from gateway.domain.edit import Edit
from gateway.domain.errors import GatewayError, error_type
from gateway.domain.tenant import Upstream
from gateway.domain.trace import Trace
from gateway.observe.redact import redacted

Attributes = dict[str, AttributeValue]

_CLIENT = -1
"""Stands for a part number where the child belongs to the client: download and answer."""
_LONGEST_CODE = 100
_PORTS = {"http": 80, "https": 443}


def at(zero: float, now: float) -> int:
    """Convert monotonic seconds to OpenTelemetry's time: nanoseconds since the epoch."""
    return round((zero + now) * 1e9)


class SpanTrace(Trace):
    """
    Implements gateway.domain.trace.Trace with *span*.

    The span ends when the edit, if this is its trace, has ended and the client, if there is
    one, has left.

    Args:
        spans: Starts the children.
        span: Already started; ended here.
        clock: Times the children.
        zero: Seconds since the epoch at *clock*'s 0.
        on_end: Called once when *span* has ended.
    """

    def __init__(
        self,
        spans: Spans,
        span: Span,
        *,
        clock: Clock,
        zero: float,
        on_end: "Callable[[SpanTrace], None]",
    ) -> None:
        self.span = span
        self.id = f"{span.get_span_context().trace_id:032x}"
        self._spans = spans
        self._clock = clock
        self._zero = zero
        self._on_end = on_end
        self._above = set_span_in_context(span, Context())
        self._children: dict[int, Span] = {}
        self._edit: Edit | None = None
        self._connected = True
        self._delivered = False
        self._owns_edit = False
        self._pictures = 0
        self._task_ids: list[str] = []

    def carries(self, edit: Edit, *, connected: bool) -> None:
        """Make this the trace of *edit* itself; without *connected* it has no client yet."""
        self._edit = edit
        self._owns_edit = True
        self._connected = connected

    # ------------------------------------------------------------ the edit

    def queued(self, part: int) -> None:
        self._begin(part, "queue", {})

    def submitting(self, part: int, upstream: Upstream) -> None:
        url = urlsplit(upstream.region.base_url)
        target: Attributes = {
            "server.address": url.hostname or "",
            "server.port": url.port or _PORTS[url.scheme],
            "wan_gateway.upstream": upstream.name,
            "wan_gateway.account": upstream.account.name,
        }
        self._begin(part, "submit", target, SpanKind.CLIENT)

    def uncertain(self, part: int) -> None:
        self._event(part, "uncertain", {})

    def undone(self, part: int, error: GatewayError | None) -> None:
        self._finish(part, error)

    def accepted(self, part: int, upstream: Upstream, task_id: str, request_id: str) -> None:
        task: Attributes = {"dashscope.task_id": task_id}
        if request_id:
            task["dashscope.request_id"] = request_id
        self._child(part).set_attributes(task)
        self._task_ids.append(task_id)
        self._begin(part, "poll", {**task, "wan_gateway.account": upstream.account.name})

    def polled(self, part: int, status: str) -> None:
        self._event(part, "poll", {"said": status})

    def task_ended(
        self, part: int, outcome: str, made: int, polls: int, error: GatewayError | None
    ) -> None:
        self._pictures += made
        self._child(part).set_attributes(
            {"wan_gateway.outcome": outcome, "wan_gateway.polls": polls}
        )
        self._finish(part, error)

    def ended(self, error: GatewayError | None) -> None:
        for part in [part for part in self._children if part != _CLIENT]:
            self._finish(part, error)
        requested = self._edit.n if self._edit else 0
        outcome = "partial" if 0 < self._pictures < requested else "succeeded"
        if error is not None:
            outcome = "failed"
        self.span.set_attributes(
            {"wan_gateway.outcome": outcome, "dashscope.task_ids": self._task_ids}
        )
        if self._edit is not None and error is None:
            self.span.set_attribute("gen_ai.response.model", self._edit.model)
        if error is not None:
            _fail(self.span, error)
        self._owns_edit = False
        self._end_if_over()

    # ------------------------------------------------------------ its client

    def downloading(self) -> None:
        self._begin(_CLIENT, "download", {}, SpanKind.CLIENT)

    def answering(self) -> None:
        self._begin(_CLIENT, "answer", {})

    def delivered(self) -> None:
        self._delivered = True

    def refused(self, error: GatewayError) -> None:
        self._finish(_CLIENT, error)
        self.span.add_event("refused", {"wan_gateway.error_code": error.code}, self._now())
        if self._edit is None:
            _fail(self.span, error)

    def left(self) -> None:
        self._finish(_CLIENT)
        self.span.set_attribute("wan_gateway.delivered", self._delivered)
        self._connected = False
        self._end_if_over()

    def interrupt(self) -> None:
        """End the span with the process; an edit that the next process resumes has a new trace."""
        for part in list(self._children):
            self._finish(part)
        self.span.set_attribute("wan_gateway.outcome", "interrupted")
        self._connected = self._owns_edit = False
        self._end_if_over()

    # ------------------------------------------------------------ spans

    def _now(self) -> int:
        return at(self._zero, self._clock.now())

    def _begin(
        self, part: int, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
    ) -> None:
        """Start the next child of *part*, and end the one before it."""
        self._finish(part)
        if part != _CLIENT:
            attributes = {**attributes, "wan_gateway.part": part}
        self._children[part] = self._spans.start_span(
            name, context=self._above, kind=kind, attributes=attributes, start_time=self._now()
        )

    def _finish(self, part: int, error: GatewayError | None = None) -> None:
        if (child := self._children.pop(part, None)) is not None:
            if error is not None:
                _fail(child, error)
            child.end(self._now())

    def _event(self, part: int, name: str, attributes: Attributes) -> None:
        self._child(part).add_event(name, attributes, self._now())

    def _child(self, part: int) -> Span:
        """Return the open child of *part*; between two children, a span that records nothing."""
        return self._children.get(part, INVALID_SPAN)

    def _end_if_over(self) -> None:
        if not self._connected and not self._owns_edit:
            self.span.end(self._now())
            self._on_end(self)


def _fail(span: Span, error: GatewayError) -> None:
    """Mark *span* as failed, by codes alone: the message may quote the request."""
    kind = error_type(error)
    attributes: Attributes = {
        "error.type": "_OTHER" if kind == "other" else kind,
        "wan_gateway.error_code": error.code,
    }
    if error.upstream_code:
        attributes["dashscope.code"] = redacted(error.upstream_code)[:_LONGEST_CODE]
    span.set_attributes(attributes)
    span.set_status(Status(StatusCode.ERROR, error.code))
