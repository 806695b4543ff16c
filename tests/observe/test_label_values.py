"""Every value of a closed label set is made somewhere in the code."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.app import build
from gateway.config.build import build as build_config
from gateway.domain.clock import Phase
from gateway.domain.errors import ERROR_TYPES
from gateway.domain.record import EditState
from gateway.domain.task import TaskStatus
from gateway.observe.families import MetricFamily
from gateway.observe.metrics import ConfiguredNames, Metrics

_GATEWAY = Path(__file__).parents[2] / "gateway"
_COMPUTED: Mapping[tuple[str, str], frozenset[str]] = {
    ("tasks_in_flight", "state"): frozenset(status.lower() for status in TaskStatus),
    ("journal_entries", "state"): frozenset(EditState),
    ("task_phase_seconds", "phase"): frozenset(Phase),
    ("tasks", "outcome"): frozenset(status.lower() for status in TaskStatus),
    ("task_duration_seconds", "outcome"): frozenset(status.lower() for status in TaskStatus),
    ("http_request_duration_seconds", "code_class"): frozenset(("2xx", "3xx", "4xx", "5xx")),
    ("client_retries", "attempt"): frozenset(("1", "2", "3+")),
    ("task_failures", "error_type"): frozenset(ERROR_TYPES),  # each tested with error_type
}
"""Family and label → values that are computed, not written, where the event is counted."""
_BY_THE_CONFIG = ("tenant", "region", "model", "account", "key", "currency", "code")
_OF_THE_PROCESS = ("version", "python", "hash", "label", "route")


def _closed_values() -> Iterator[tuple[str, str, str]]:
    families: list[MetricFamily[Any]] = list(
        Metrics(CollectorRegistry(), ConfiguredNames()).families
    )
    for family in families:
        for label, values in family.labels.items():
            if label not in (*_BY_THE_CONFIG, *_OF_THE_PROCESS):
                yield from ((family.name, label, value) for value in values)


@cache
def _written() -> frozenset[str]:
    """Every string that the code holds, without those of the metrics and of the sandbox."""
    return frozenset(
        node.value
        for file in _GATEWAY.rglob("*.py")
        if file.relative_to(_GATEWAY).parts[0] not in ("observe", "sandbox")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize(("family", "label", "value"), list(_closed_values()))
def test_a_value_is_made_somewhere(family: str, label: str, value: str) -> None:
    """The code that counts writes the value, or computes it from an enum."""
    assert value in _COMPUTED.get((family, label), ()) or value in _written()


def test_routes_are_those_that_are_served() -> None:
    """The closed set of ``route`` is what the app serves with everything on."""
    config = build_config(
        "test",
        {
            "dashboard": {"on": True},
            "upstreams": {"main": {"region": "beijing", "key": "env:KEY"}},
            "tenants": {"acme": {"open": True}},
        },
        {"KEY": "sk-x"},
    )
    gateway = build(config)
    (family,) = (it for it in gateway.metrics.families if it.name == "http_requests_in_flight")

    served = {route.app.route for route in gateway.app.routes if hasattr(route, "app")}

    assert served - {"_other"} == set(family.labels["route"])
