"""
docs/metrics.md, written from the code, the rules and the dashboards.

``python -m tests.observability.metrics_page`` writes it again.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram

from gateway.observe.families import PREFIX, MetricFamily
from gateway.observe.metrics import ConfiguredNames, Metrics
from tests.observability.shipped import GRAFANA, ROOT, metrics_in, rules

PAGE = ROOT / "docs" / "metrics.md"

_MOST_LISTED = 20
"""A label with more values, such as HTTP's status codes, is described in words."""

_OF_THE_PROCESS = ("version", "python", "hash", "label")
"""Labels whose values follow from what runs."""

_HEAD = """\
# Metrics

What `GET /metrics` exports, in Prometheus' text or as OpenMetrics.
This page is written from the code by `python -m tests.observability.metrics_page`;
a test compares.

- Every label is a closed set. What is not in it is counted as `_other`
  and in `wan_gateway_metrics_label_overflow_total`; a tenant that is not configured is `_unknown`.
- `tenant`, `region`, `account`, `key` and `model` are names of the config;
  nothing is a key, a prompt, an id or an address.
- `tenant` stands on no histogram.
  200 tenants make fewer than 5,000 series; a test counts them.
- Counters start at 0, so that `increase()` counts the first event after a start, too: among them
  pictures, cost, tasks, refusals and the common statuses of edits, for each tenant, its region and
  each model. Where the series with a tenant would be more than 2,500, those of pictures, cost and
  tasks start when the tenant's first edit of the model arrives, long before its end is counted,
  and those of statuses and refusals with their first event.
  Other statuses, and histograms of phases, outcomes and sizes, always start with their first event.
- There are no exemplars: nothing here leads to a single edit. Logs and [traces](traces.md) do.
- A name that a reload takes out of the config stays a label until the restart: its edits still end.
  Only `wan_gateway_upstream_key_up` of a key that is gone goes with it.
- There is no family for a circuit breaker, since there is none.
- Counters end in `_total`; a histogram has `_bucket`, `_sum` and `_count`.

Process and garbage collector metrics of the Python client come with them.

`/metrics` asks for no key unless `metrics.token` is set, and can have a port of its own
(`metrics.port`). With neither, several tenants are added up as `tenant="_all"`: every client
could read the others' names.

Dashboards for Grafana are in `config/grafana/`, recording and alert rules for
Prometheus in `config/prometheus/`; [the runbook](runbook.md) says for each alert what to do, and
`config/compose.yaml` starts the three together. This is what the overview's queries show of two
simulated regions under load, drawn without Grafana, which could not be run here:

![overview](overview.png)
"""


def page() -> str:
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    users = _users()
    for family in Metrics(CollectorRegistry(), ConfiguredNames()).families:
        yield from _section(family, users)


def _section(family: MetricFamily[Any], users: dict[str, list[str]]) -> Iterator[str]:
    metric = family.metric
    yield f"## {PREFIX}{family.name}{'_total' if metric._type == 'counter' else ''}\n"
    yield f"{metric._documentation}\n"
    yield f"- type: {metric._type}{_unit(family.name)}"
    for label, values in family.labels.items():
        listed = ", ".join(f"`{value}`" for value in values)
        shown = values and label not in _OF_THE_PROCESS and len(values) <= _MOST_LISTED
        yield f"- label `{label}`{f': {listed}' if shown else ''}"
    if isinstance(metric, Histogram):
        bounds = ", ".join(f"{bound:g}" for bound in metric._upper_bounds[:-1])
        yield f"- upper bounds: {bounds}"
    yield f"- read by: {', '.join(users[PREFIX + family.name])}\n"


def _unit(name: str) -> str:
    for ending in ("seconds", "bytes", "ratio"):
        if name.endswith(f"_{ending}"):
            return f", in {ending}" if ending != "ratio" else ", 0 to 1"
    return ""


def _users() -> dict[str, list[str]]:
    """Return family → the dashboards and alerts that read it, by themselves or by a rule."""
    recorded = {
        rule.name: metrics_in(rule.expr)
        for file in ("recording.yml", "slo.yml")
        for rule in rules(file).values()
    }
    recorded["region:wan_gateway_task_failures:ratio_rate15m"] |= recorded[
        "region:wan_gateway_task_failures:rate15m"
    ]
    requested = [
        (f"dashboard {json.loads(file.read_text('utf-8'))['title'].rpartition(' / ')[2]}", text)
        for file in sorted((GRAFANA / "dashboards").glob("*.json"))
        for text in [_expressions(file.read_text("utf-8"))]
    ]
    requested += [
        (f"alert [{rule.name}](runbook.md#{rule.name.lower()})", rule.expr)
        for rule in rules("alerts.yml").values()
    ]
    users: dict[str, list[str]] = {}
    for who, text in requested:
        read = metrics_in(text) | {
            it for name, names in recorded.items() if name in text for it in names
        }
        for family in sorted({re.sub(r"_(bucket|count|sum|total)$", "", it) for it in read}):
            users.setdefault(family, []).append(who)
    return users


def _expressions(dashboard: str) -> str:
    panels = json.loads(dashboard)["panels"]
    return "\n".join(target["expr"] for panel in panels for target in panel.get("targets", []))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
