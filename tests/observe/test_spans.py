from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.domain.edit import Edit
from gateway.domain.errors import GatewayError, StillRunning, TaskLost
from gateway.domain.tenant import Account, Region, Upstream
from gateway.observe.spans import SpanTrace

_EPOCH = 1_700_000_000.0
_REGION = Region("beijing", "https://dashscope.aliyuncs.com/api/v1", ())
_UPSTREAM = Upstream("main", _REGION, Account("acme", "beijing"), "sk-canary")


@dataclass(slots=True)
class _SteppedClock:
    at: float = 100.0

    def now(self) -> float:
        return self.at

    def epoch(self) -> float:
        return _EPOCH

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class SpanHarness:
    """One trace, and what of it has ended."""

    def __init__(self) -> None:
        self.clock = _SteppedClock()
        self.over: list[SpanTrace] = []
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(max_events=4))
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        spans = provider.get_tracer("test")
        start = round((_EPOCH + 100) * 1e9)
        root = spans.start_span("root", start_time=start)
        self.trace = SpanTrace(spans, root, clock=self.clock, zero=_EPOCH, on_end=self.over.append)

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        return self._kept.get_finished_spans()

    def one(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.ended if span.name == name)
        return span


def _attribute(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(name)


def test_it_ends_when_edit_and_customer_have() -> None:
    """A trace lasts as long as its edit goes on or its client is there, whichever is longer."""
    for customer_first in (True, False):
        harness = SpanHarness()
        harness.trace.carries(Edit(model="m", prompt="p"), connected=True)
        steps: list[Callable[[], None]] = [harness.trace.left, partial(harness.trace.ended, None)]

        for step in steps if customer_first else reversed(steps):
            assert not harness.over
            harness.clock.at += 10
            step()

        root = harness.one("root")
        assert harness.over == [harness.trace]
        assert (root.end_time or 0) - (root.start_time or 0) == 20_000_000_000


def test_an_edit_that_is_dropped_in_line() -> None:
    """What an edit was at when it ended has its error, and ends with it."""
    harness = SpanHarness()
    harness.trace.carries(Edit(model="m", prompt="p"), connected=True)
    harness.trace.queued(0)
    harness.clock.at += 5

    harness.trace.ended(TaskLost("canary", retry=True))
    harness.trace.left()

    for span in (harness.one("queue"), harness.one("root")):
        assert span.status.description == "upstream_task_lost"
        assert _attribute(span, "error.type") == "_OTHER"
        assert "canary" not in span.to_json()
    assert _attribute(harness.one("root"), "wan_gateway.outcome") == "failed"


def test_some_pictures_of_an_edit() -> None:
    """An edit whose tasks made fewer pictures than asked ends as partial."""
    harness = SpanHarness()
    harness.trace.carries(Edit(model="m", prompt="p", n=4), connected=False)
    harness.trace.submitting(0, _UPSTREAM)
    harness.trace.accepted(0, _UPSTREAM, "task-1", "")
    harness.trace.task_ended(0, "partial", 3, 9, None)

    harness.trace.ended(None)

    assert _attribute(harness.one("root"), "wan_gateway.outcome") == "partial"
    assert _attribute(harness.one("poll"), "wan_gateway.polls") == 9
    submit = harness.one("submit")
    assert _attribute(submit, "server.port") == 443
    assert _attribute(submit, "dashscope.request_id") is None


def test_looks_are_bounded() -> None:
    """However often a task is looked at, the last looks are kept and the others are counted."""
    harness = SpanHarness()
    harness.trace.accepted(0, _UPSTREAM, "task-1", "r")
    for nth in range(10):
        harness.trace.polled(0, f"look-{nth}")

    harness.trace.task_ended(0, "succeeded", 1, 10, None)
    harness.trace.polled(0, "too late: it was on its way when the task was cancelled")

    poll = harness.one("poll")
    assert [(event.attributes or {})["said"] for event in poll.events] == [
        "look-6",
        "look-7",
        "look-8",
        "look-9",
    ]
    assert poll.dropped_events == 6


def test_a_joined_customer_that_is_refused() -> None:
    """A client who joined and was sent home has a trace that failed; the edit's has not."""
    harness = SpanHarness()
    harness.trace.downloading()

    harness.trace.refused(StillRunning("later"))
    harness.trace.left()

    root = harness.one("root")
    assert root.status.description == "still_running"
    assert _attribute(root, "error.type") == "timeout"
    assert harness.one("download").status.description == "still_running"


def test_what_upstream_calls_it_is_made_safe() -> None:
    """DashScope's code is shown, short and without what looks like a key."""
    harness = SpanHarness()
    harness.trace.carries(Edit(model="m", prompt="p"), connected=False)
    code = "Key sk-canary0123456789 " + "x" * 200

    harness.trace.ended(GatewayError("m", upstream_code=code))

    message = str(_attribute(harness.one("root"), "dashscope.code"))
    assert message.startswith("Key sk-*** x")
    assert len(message) == 100


def test_interrupted() -> None:
    """At the process's end all that is open ends, and says so."""
    harness = SpanHarness()
    harness.trace.carries(Edit(model="m", prompt="p"), connected=True)
    harness.trace.queued(0)
    harness.trace.queued(1)

    harness.trace.interrupt()

    assert len(harness.ended) == 3
    assert _attribute(harness.one("root"), "wan_gateway.outcome") == "interrupted"
    assert harness.over == [harness.trace]
