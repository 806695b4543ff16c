"""Every value of every label is emitted: for each there is an event here that raises its series."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.app import build
from gateway.config.build import build as build_config
from gateway.domain.models import DEFAULTS, Operation
from gateway.observe.families import UNKNOWN, MetricFamily
from gateway.observe.metrics import ConfiguredNames, Metrics
from tests.fast_time import FastLoop
from tests.observe import scenarios
from tests.observe.exposition import ExposedMetrics
from tests.observe.scenarios import Sample, Scenario, Scrapes
from tests.warp import WarpLoop

_EDIT = scenarios.an_edit_goes_through_all_states
_ENDS = scenarios.tasks_end_in_every_way
_TAKEN_OVER = scenarios.the_next_process_takes_over

EVENTS: Mapping[str, Mapping[str, Scenario]] = {
    "client_disconnects_total:phase": {
        "reading": scenarios.a_client_leaves_while_it_sends,
        "queued": scenarios.a_client_leaves_the_queue,
        "submitting": scenarios.a_client_leaves_during_the_submit,
        "polling": scenarios.a_client_leaves_a_running_task,
        "downloading": scenarios.a_client_leaves_during_the_download,
        "writing": scenarios.a_client_leaves_during_the_response,
    },
    "client_retries_total:attempt": dict.fromkeys(
        ("1", "2", "3+"), scenarios.sdks_mark_their_retries
    ),
    "queue_rejections_total:reason": {
        "tenant_limit": scenarios.the_queue_is_full,
        "deadline": scenarios.the_queue_is_too_slow,
        "bytes": scenarios.the_memory_budget_is_used_up,
        "draining": scenarios.the_gateway_drains,
    },
    "tasks_total:outcome": {
        "succeeded": _EDIT,
        "partial": _ENDS,
        "failed": _ENDS,
        "canceled": _ENDS,
        "timed_out": scenarios.a_task_never_ends,
        "lost": _ENDS,
    },
    "task_duration_seconds_count:outcome": {
        "succeeded": _EDIT,
        "partial": _ENDS,
        "failed": _ENDS,
        "canceled": _ENDS,
        "timed_out": scenarios.a_task_never_ends,
        "lost": _ENDS,
    },
    "tasks_in_flight:state": dict.fromkeys(
        ("submitting", "pending", "running", "downloading"), _EDIT
    ),
    "task_phase_seconds_sum:phase": dict.fromkeys(
        (
            *("read", "queue", "submit", "upstream_pending", "upstream_running"),
            *("detection", "download", "respond"),
        ),
        _EDIT,
    ),
    "task_failures_total:error_type": dict.fromkeys(
        (
            *("content_policy", "invalid_image", "invalid_parameter", "throttled", "quota"),
            *("auth", "region_mismatch", "upstream_internal", "network", "timeout", "other"),
        ),
        _ENDS,
    ),
    "upstream_requests_total:operation": {
        **dict.fromkeys(("submit", "poll", "download"), _EDIT),
        "list": scenarios.calls_are_throttled,
        "cancel": scenarios.a_pending_task_is_cancelled,
        "upload": scenarios.uploads_fail,
    },
    "upstream_request_duration_seconds_count:operation": {
        **dict.fromkeys(("submit", "poll", "download"), _EDIT),
        "list": scenarios.calls_are_throttled,
        "cancel": scenarios.a_pending_task_is_cancelled,
        "upload": scenarios.uploads_fail,
    },
    "upstream_retries_total:operation,reason": {
        **dict.fromkeys(
            ("download,network", "download,status", "download,content"),
            scenarios.downloads_are_repeated,
        ),
        **dict.fromkeys(("upload,network", "upload,status"), scenarios.uploads_fail),
        "upload,content": scenarios.an_upload_would_go_elsewhere,
    },
    "upstream_throttled_total:operation": dict.fromkeys(
        ("submit", "poll", "list"), scenarios.calls_are_throttled
    ),
    "images_total:disposition": {
        "delivered": _EDIT,
        "undelivered": scenarios.a_picture_cannot_be_downloaded,
        "failed": _ENDS,
    },
    "undelivered_tasks_total:reason": {
        "result_unavailable": scenarios.a_picture_cannot_be_downloaded,
        "expired": scenarios.nobody_fetches_a_result,
    },
    "recovered_tasks_total:how": dict.fromkeys(
        ("task_followed", "submit_resolved", "submit_void"), _TAKEN_OVER
    ),
    "duplicates_prevented_total:how": {
        **dict.fromkeys(
            ("retry_joined", "in_flight_joined", "key_replayed"), scenarios.requests_join
        ),
        "ambiguous_found": scenarios.an_answer_to_a_submit_is_lost,
    },
    "idempotency_requests_total:result": dict.fromkeys(
        ("new", "joined", "replayed", "conflict"), scenarios.requests_join
    ),
    "results_total:action": {
        **dict.fromkeys(("written", "reused", "deleted"), scenarios.pictures_are_kept),
        "expired": scenarios.kept_pictures_expire,
    },
    "result_store_failures_total:operation": dict.fromkeys(
        ("put", "find", "open", "list", "delete"), scenarios.the_store_fails
    ),
    "shard_takeovers_total:why": dict.fromkeys(("given", "expired"), scenarios.shards_are_taken),
    "journal_entries:state": dict.fromkeys(("open", "succeeded", "failed"), _ENDS),
    "config_reloads_total:result": dict.fromkeys(
        ("success", "failure"), scenarios.the_config_is_reloaded
    ),
    "http_requests_total:method": dict.fromkeys(
        ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"),
        scenarios.every_method_is_tried,
    ),
    "http_request_duration_seconds_count:code_class": {
        "2xx": scenarios.results_are_sent,
        "4xx": scenarios.every_method_is_tried,
        "5xx": scenarios.a_picture_cannot_be_downloaded,
    },
    "http_late_errors_total:code": dict.fromkeys(
        ("400", "429", "500", "503"), scenarios.edits_fail_late
    ),
    "gateway_overhead_seconds_count:route": dict.fromkeys(
        (
            *("/v1/images/edits", "/v1/images/edits/{edit_id}"),
            *("/v1/images/generations", "/v1/images/generations/{edit_id}"),
        ),
        scenarios.results_are_sent,
    ),
    **{
        f"{name}:route": dict.fromkeys(
            (
                *("/v1/images/edits", "/v1/images/edits/{edit_id}"),
                *("/v1/images/generations", "/v1/images/generations/{edit_id}"),
                *("/v1/images/results", "/v1/images/results/{name}"),
                *("/v1/images/variations", "/v1/models", "/v1/models/{id}"),
                *(
                    "/openapi.json",
                    "/healthz",
                    "/readyz",
                    "/metrics",
                    "/dashboard",
                    "/dashboard/events",
                ),
            ),
            scenarios.every_route_is_requested,
        )
        for name in (
            *("http_requests_total", "http_requests_in_flight"),
            *("http_request_duration_seconds_count", "http_request_body_bytes_count"),
            "http_response_body_bytes_count",
        )
    },
}
"""Series and labels → their values → what has to happen."""

_WARPED = {
    scenarios.a_task_never_ends,
    scenarios.nobody_fetches_a_result,
    scenarios.shards_are_taken,
}
"""Hours, before a fake DashScope: time is warped. The others are hurried, on real sockets."""

_EXEMPT = frozenset(
    {
        *(
            "tenant",
            "region",
            "model",
            "account",
            "shard",
            "key",
            "currency",
        ),  # names of the config
        *("version", "python", "hash"),  # of the process: one value each
        "code",  # any status of HTTP
        "label",  # counts bugs: see test_an_overflow_of_each_label
    }
)


_BY_STATUS = ("http_requests", "upstream_requests")
"""Of these only the common statuses stand at 0 from the start: all would be thousands."""


def _samples(scenario: Scenario) -> list[tuple[str, dict[str, str]]]:
    """Return name and labels of each series that the table promises of *scenario*."""
    return [
        (name, dict(zip(labels.split(","), values.split(","), strict=True)))
        for series, events in EVENTS.items()
        for name, _, labels in [series.partition(":")]
        for values, event in events.items()
        if event is scenario
    ]


def _scenarios() -> list[Scenario]:
    return list(dict.fromkeys(it for events in EVENTS.values() for it in events.values()))


@pytest.mark.parametrize("scenario", _scenarios(), ids=lambda it: it.__name__)
def test_the_event_raises_the_series(scenario: Scenario, tmp_path: Path) -> None:
    """What happens raises the series that the table names; each counter stood at 0 before."""
    scrapes = Scrapes(tmp_path)
    loop = WarpLoop if scenario in _WARPED else FastLoop
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario(scrapes))

    risen = scrapes.risen()
    missing = [
        (name, labels)
        for name, labels in _samples(scenario)
        if not any(name == it and labels.items() <= dict(also).items() for it, also in risen)
    ]
    assert missing == []
    assert [it for it in risen if not _began_at_0(it, scrapes)] == []


def test_every_value_has_its_event() -> None:
    """The table has each value of each closed set, and none that is in no set."""
    assert {
        (name, label): set(values) for name, label, values in _closed_sets() if label not in _EXEMPT
    } == _values_by_label()


def _closed_sets() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for family in _families().values():
        for label, values in family.labels.items():
            yield family.name, label, values


def _values_by_label() -> dict[tuple[str, str], set[str]]:
    table: dict[tuple[str, str], set[str]] = {}
    for scenario in _scenarios():
        for name, labels in _samples(scenario):
            for label, value in labels.items():
                if label not in _EXEMPT:
                    table.setdefault((_family_of(name), label), set()).add(value)
    return table


def _family_of(sample: str) -> str:
    """Return the family of a series, whose name may have the suffix of its kind."""
    (name,) = {sample, re.sub(r"_(total|count|sum)$", "", sample)} & set(_families())
    return name


@cache
def _families() -> Mapping[str, MetricFamily[Any]]:
    metrics = Metrics(CollectorRegistry(), ConfiguredNames())
    return {family.name: family for family in metrics.families}


def _began_at_0(sample: Sample, scrapes: Scrapes) -> bool:
    """Say whether it stood at 0 at the start, or is not one of those that have to."""
    name, pairs = sample
    labels = dict(pairs)
    if not name.endswith("_total") or sample in scrapes.first:
        return True
    if labels.get("tenant") == UNKNOWN:
        return True
    if labels.get("model", DEFAULTS[Operation.EDIT]) not in DEFAULTS.values():
        return True  # series of a model that is no default begin with their first event
    family = _families()[_family_of(name)]
    listed = (family.initial or {}).items()
    return family.name in _BY_STATUS and any(labels[it] not in values for it, values in listed)


def test_an_overflow_of_each_label() -> None:
    """A value that no set holds, which only a bug can make, is counted by its label."""
    exposed = ExposedMetrics()
    labels = exposed.labels("metrics_label_overflow")["label"]

    for family in exposed.metrics.families:
        for label in family.labels:
            if label not in ("tenant", "label"):
                family.closed(label, "a bug's")

    for label in labels:
        assert exposed.value("metrics_label_overflow_total", label=label), label


def test_routes_are_those_that_are_served() -> None:
    """The closed set of ``route`` is what the app serves with everything on."""
    config = build_config(
        "test",
        {
            "dashboard": {"on": True},
            "results": {
                "store": "folder:results",
                "public_url": "https://pictures.test",
                "secret": "env:SECRET",
            },
            "upstreams": {"main": {"region": "beijing", "key": "env:KEY"}},
            "tenants": {"acme": {"open": True}},
        },
        {"KEY": "sk-x", "SECRET": "s" * 32},
    )

    served = {route.app.route for route in build(config).app.routes if hasattr(route, "app")}

    assert served - {"_other"} == set(_families()["http_requests_in_flight"].labels["route"])
