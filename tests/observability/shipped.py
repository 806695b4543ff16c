"""The files of config/ and docs/ that operators get, as a test reads them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "config" / "prometheus"
GRAFANA = ROOT / "config" / "grafana"
RUNBOOK = ROOT / "docs" / "runbook.md"

_yaml: Any = pytest.importorskip("yaml", reason="PyYAML reads the shipped YAML")


def read_yaml(file: Path) -> Any:
    return _yaml.safe_load(file.read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class PrometheusRule:
    """One rule of config/prometheus/rules; a recording rule has no severity."""

    name: str
    expr: str
    severity: str
    annotations: dict[str, str]


def rules(file: str) -> dict[str, PrometheusRule]:
    """Return a file's rules by their names, in its order."""
    groups = read_yaml(PROMETHEUS / "rules" / file)["groups"]
    found = [_rule(rule) for group in groups for rule in group["rules"]]
    return {rule.name: rule for rule in found}


def alerts() -> dict[str, PrometheusRule]:
    return rules("alerts.yml")


def _rule(values: dict[str, Any]) -> PrometheusRule:
    return PrometheusRule(
        values.get("alert") or values["record"],
        values["expr"],
        values.get("labels", {}).get("severity", ""),
        values.get("annotations", {}),
    )


def metrics_in(expression: str) -> set[str]:
    """Return the names of the gateway's own metrics that an expression asks for."""
    return set(re.findall(r"(?<![:\w])wan_gateway_\w+(?!:)\b", expression))
