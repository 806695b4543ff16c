#!/usr/bin/env python3
"""The rules of config/prometheus for the operator: writes monitoring/prometheus-rule.yaml again."""

from pathlib import Path
from textwrap import indent

FOLDER = Path(__file__).parent
RULES = FOLDER.parent / "prometheus" / "rules"
TARGET = FOLDER / "monitoring" / "prometheus-rule.yaml"
_GROUPS = "groups:\n"
_HEAD = """\
# Written by config/kubernetes/build.py from config/prometheus/rules; a test compares.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: wan-gateway
  labels:
    app.kubernetes.io/name: wan-gateway
spec:
  groups:
"""


def prometheus_rule(rules: Path = RULES) -> str:
    """Return the PrometheusRule as YAML: the groups of every file in *rules*, as they are there."""
    return _HEAD + "".join(_groups(file) for file in sorted(rules.glob("*.yml")))


def _groups(file: Path) -> str:
    """Return the lines below ``groups:``, indented for the place where they go."""
    _, found, groups = file.read_text("utf-8").partition(_GROUPS)
    if not found:
        raise ValueError(f"{file}: has no groups")
    lines = groups.splitlines(keepends=True)
    return indent("".join(line for line in lines if line.strip()), "  ")


if __name__ == "__main__":
    TARGET.write_text(prometheus_rule(), "utf-8")
