"""Traces of the whole app, as a collector gets them."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.sandbox import Answer, Constant, Drop, End, Fault
from gateway.upstream.clients import Purpose
from tests.harness import PLAIN, UPSTREAM_KEY, direct, eventually, pictures_of, start_harness
from tests.trace_collector import CollectedSpan, collector, traces_table

pytestmark = pytest.mark.anyio

_TRACE, _PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
_SAMPLED = {"traceparent": f"00-{_TRACE}-{_PARENT}-01", "tracestate": "theirs=1"}
_NOT_SAMPLED = {"traceparent": f"00-{_TRACE}-{_PARENT}-00"}


def _covers(whole: CollectedSpan, part: CollectedSpan) -> bool:
    return whole.start <= part.start <= part.end <= whole.end


async def test_an_edit_is_one_trace() -> None:
    """An edit is one span below its client's, with children for all that it waited for."""
    with collector() as kept:
        async with start_harness(
            replace(PLAIN, latency=Constant(4)), traces=traces_table(kept)
        ) as harness:
            answer = await harness.edit(headers=_SAMPLED)
            assert pictures_of(answer)

    root = kept.root()
    assert (root.trace_id, root.parent, root.state) == (_TRACE, _PARENT, "theirs=1")
    assert (root.kind, root.error, root.links) == ("SERVER", None, ())
    assert root.attributes == {
        "gen_ai.operation.name": "image_edit",
        "gen_ai.provider.name": "alibaba.dashscope",
        "gen_ai.output.type": "image",
        "gen_ai.request.model": "wan2.5-i2i-preview",
        "gen_ai.request.choice.count": 1,
        "gen_ai.response.model": "wan2.5-i2i-preview",
        "wan_gateway.edit_id": answer.headers["x-wan-edit-id"],
        "wan_gateway.tenant": "acme",
        "wan_gateway.region": "beijing",
        "wan_gateway.recovered": False,
        "wan_gateway.outcome": "succeeded",
        "wan_gateway.delivered": True,
        "dashscope.task_ids": [answer.headers["x-wan-task-id"]],
    }
    children = kept.below(root)
    assert [child.name for child in children] == ["queue", "submit", "poll", "download", "answer"]
    assert all(_covers(root, child) for child in children)
    for before, after in pairwise(children):
        assert 0 <= after.start - before.end < 1e9
    assert len(kept.spans) == 6


async def test_the_submit_and_the_looks() -> None:
    """The submit tells where it went; looks at the task are events of one span."""
    with collector() as kept:
        async with start_harness(
            replace(PLAIN, latency=Constant(4)), traces=traces_table(kept)
        ) as harness:
            answer = await harness.edit()
            port = int(harness.regions["beijing"].rpartition(":")[2])

    _, submit, poll, _, _ = kept.below(kept.root())
    task = {
        "dashscope.task_id": answer.headers["x-wan-task-id"],
        "dashscope.request_id": answer.headers["x-wan-upstream-request-id"],
        "wan_gateway.account": "beijing-main",
        "wan_gateway.part": 0,
    }
    where = {"server.address": "127.0.0.1", "server.port": port}
    assert submit.kind == "CLIENT"
    assert submit.attributes == {**task, **where, "wan_gateway.upstream": "beijing-main"}
    looks = poll.attributes.pop("wan_gateway.polls")
    assert poll.attributes == {**task, "wan_gateway.outcome": "succeeded"}
    assert len(poll.events) == looks > 1
    assert {name for name, _ in poll.events} == {"poll"}
    assert poll.events[-1][1] == {"said": "SUCCEEDED"}
    assert "RUNNING" in {reported["said"] for _, reported in poll.events}


async def test_parts_go_side_by_side() -> None:
    """An edit of two tasks has a queue, a submit and a poll for each."""
    with collector() as kept:
        async with start_harness(traces=traces_table(kept)) as harness:
            assert len(pictures_of(await harness.edit(n="6"))) == 6

    root = kept.root()
    names = [(one.name, one.attributes.get("wan_gateway.part")) for one in kept.below(root)]
    assert sorted(names, key=str) == [
        ("answer", None),
        ("download", None),
        *((name, part) for name in ("poll", "queue", "submit") for part in (0, 1)),
    ]
    assert len(set(root.attributes["dashscope.task_ids"])) == 2


@pytest.mark.parametrize(
    ("fault", "status", "expected", "child"),
    [
        pytest.param(
            Fault("submit", End("FAILED")),
            500,
            ("upstream_failed", "timeout", "InternalError.Timeout"),
            "poll",
            id="failed",
        ),
        pytest.param(
            Fault("submit", Answer(400, "DataInspectionFailed")),
            400,
            ("moderation_blocked", "content_policy", "DataInspectionFailed"),
            "submit",
            id="content",
        ),
    ],
)
async def test_a_bad_end(
    fault: Fault, status: int, expected: tuple[str, str, str], child: str
) -> None:
    """A failed edit and the child that it failed in have the status error and say which."""
    code, kind, reported = expected
    with collector() as kept:
        async with start_harness(
            replace(PLAIN, faults=(fault,)), traces=traces_table(kept)
        ) as harness:
            assert (await harness.edit()).status_code == status

    root = kept.root()
    (failed,) = (one for one in kept.below(root) if one.error)
    assert failed.name == child
    for span in (root, failed):
        assert span.error == code
        assert span.attributes["error.type"] == kind
        assert span.attributes["wan_gateway.error_code"] == code
        assert span.attributes["dashscope.code"] == reported
    assert root.attributes["wan_gateway.outcome"] == "failed"
    assert root.attributes["wan_gateway.delivered"] is False
    assert "gen_ai.response.model" not in root.attributes


async def test_an_uncertain_submit() -> None:
    """A submit whose answer was lost is one span, and says that it was uncertain."""
    fault = Fault("submit", Drop(after=True), count=1)
    with collector() as kept:
        async with start_harness(
            replace(PLAIN, faults=(fault,)), traces=traces_table(kept)
        ) as harness:
            assert pictures_of(await harness.edit())

    _, submit, poll, *_ = kept.below(kept.root())
    assert submit.events == (("uncertain", {}),)
    assert submit.attributes["dashscope.task_id"] == poll.attributes["dashscope.task_id"]


async def test_a_throttled_submit() -> None:
    """Each try of a submit is a span of its own; those that made no task have failed."""
    fault = Fault("submit", Answer(429, "Throttling.RateQuota"), count=2)
    with collector() as kept:
        async with start_harness(
            replace(PLAIN, faults=(fault,)), traces=traces_table(kept)
        ) as harness:
            assert pictures_of(await harness.edit())

    root = kept.root()
    tries = [one for one in kept.below(root) if one.name == "submit"]
    assert [one.attributes.get("error.type") for one in tries] == ["throttled", "throttled", None]
    assert root.error is None


async def test_a_retry_links_to_the_edit() -> None:
    """A retry that joins has a span in its own client's trace, which links to the edit's."""
    with collector() as kept:
        async with start_harness(
            replace(PLAIN, latency=Constant(12)), traces=traces_table(kept)
        ) as harness:
            first = await harness.edit(headers={"x-stainless-read-timeout": "5"})
            assert first.status_code == 503
            again = {"x-stainless-retry-count": "1", **_SAMPLED}
            assert pictures_of(await harness.edit(headers=again))

    root = kept.root()
    (joined,) = (span for span in kept.spans if span.name == "image_edit joined")
    assert (joined.trace_id, joined.parent) == (_TRACE, _PARENT)
    assert joined.trace_id != root.trace_id
    assert joined.links == ((root.trace_id, root.span_id),)
    assert joined.attributes["wan_gateway.edit_id"] == root.attributes["wan_gateway.edit_id"]
    assert [one.name for one in kept.below(joined)] == ["download", "answer"]
    assert (joined.error, joined.attributes["wan_gateway.delivered"]) == (None, True)
    assert root.events == (("refused", {"wan_gateway.error_code": "still_running"}),)
    assert (root.error, root.attributes["wan_gateway.delivered"]) == (None, False)
    assert root.attributes["wan_gateway.outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("sample", "headers", "traced"),
    [
        pytest.param(0, {}, False, id="none"),
        pytest.param(0, _SAMPLED, True, id="the customer wants it"),
        pytest.param(1, _NOT_SAMPLED, False, id="the customer does not"),
        pytest.param(1, {"traceparent": "00-zz-zz-01"}, True, id="nonsense is no trace"),
        pytest.param(1, {"tracestate": "theirs=1"}, True, id="a state alone is none"),
    ],
)
async def test_sample(sample: float, headers: Mapping[str, str], *, traced: bool) -> None:
    """The client's own trace decides; without one, the share that is set."""
    with collector() as kept:
        async with start_harness(traces=traces_table(kept, sample=sample)) as harness:
            assert pictures_of(await harness.edit(headers=headers))
            joined = await harness.edit(headers={"x-stainless-retry-count": "1", **headers})
            assert pictures_of(joined)

    assert bool(kept.spans) is traced


async def test_upstream_hears_nothing_of_it() -> None:
    """Neither DashScope nor the storage of results is told of a trace."""
    seen: list[httpx.Request] = []

    class WatchedTransport(httpx.AsyncBaseTransport):
        def __init__(self, purpose: Purpose) -> None:
            self._way = direct(purpose)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return await self._way.handle_async_request(request)

        async def aclose(self) -> None:
            await self._way.aclose()

    with collector() as kept:
        async with start_harness(transports=WatchedTransport, traces=traces_table(kept)) as harness:
            assert pictures_of(await harness.edit(headers=_SAMPLED))

    assert kept.spans
    assert {request.method for request in seen} == {"GET", "POST"}
    headers = {name for request in seen for name in request.headers}
    assert not {"traceparent", "tracestate", "baggage"} & headers


async def test_headers_and_names_for_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured headers go with the spans; the standard variables name the service."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=blue")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with collector() as kept:
        traces = traces_table(kept, headers={"authorization": "env:AUTH"})
        environ = {"KEY": UPSTREAM_KEY, "AUTH": "Bearer of traces"}
        async with start_harness(environ=environ, traces=traces) as harness:
            await harness.edit()
        monkeypatch.setenv("OTEL_SERVICE_NAME", "theirs")
        async with start_harness(traces=traces_table(kept)) as harness:
            await harness.edit()

    assert kept.headers[0]["authorization"] == "Bearer of traces"
    assert kept.headers[0]["content-encoding"] == "gzip"
    assert [named["service.name"] for named in kept.resources] == ["wan-gateway", "theirs"]
    assert kept.resources[0]["deployment.environment.name"] == "blue"


async def test_switched_off_by_the_standard_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED is obeyed: edits go on, and nothing is sent."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with collector() as kept:
        async with start_harness(traces=traces_table(kept)) as harness:
            assert pictures_of(await harness.edit(headers=_SAMPLED))

    assert not kept.headers


async def test_a_dead_collector_costs_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a collector that is not there; the log says once that spans are lost."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with collector(status=404) as kept, capture_logs() as lines:
        async with start_harness(traces=traces_table(kept)) as harness:

            async def refused() -> bool:
                return len(kept.headers) > 1

            async def arrived() -> bool:
                return bool(kept.spans)

            async with asyncio.timeout(200):
                while not await refused():
                    assert pictures_of(await harness.edit())
                    await asyncio.sleep(1)
            kept.status = 200
            assert pictures_of(await harness.edit())
            await eventually(arrived)

    words = [line["event"] for line in lines if line["event"].startswith("traces_")]
    assert words == ["traces_not_exported", "traces_exported_again"]


async def test_the_log_names_the_trace() -> None:
    """The line of a request holds the id of its edit's trace."""
    with collector() as kept, capture_logs() as lines:
        async with start_harness(traces=traces_table(kept)) as harness:
            await harness.edit(headers=_SAMPLED)

    (line,) = (line for line in lines if line["event"] == "request" and line.get("edit_id"))
    assert line["trace_id"] == _TRACE
