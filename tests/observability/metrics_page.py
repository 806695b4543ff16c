"""
docs/metrics.md, written from the code, the rules and the dashboards.

``python -m tests.observability.metrics_page`` writes it again.
"""

import json
import re
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics import MetricWrapperBase

from gateway.domain.error_types import ERROR_TYPES
from gateway.observe import labels
from gateway.observe.families import Families
from tests.observability.shipped import GRAFANA, ROOT, metrics_in, rules

PAGE = ROOT / "docs" / "metrics.md"

_VALUES = {
    "route": labels.ROUTES,
    "method": labels.METHODS,
    "code_class": labels.CODE_CLASSES,
    "attempt": labels.ATTEMPTS,
    "phase": labels.PHASES,
    "state": labels.TASK_STATES,
    "outcome": labels.OUTCOMES,
    "error_type": ERROR_TYPES,
    "operation": labels.OPERATIONS,
    "reason": (*labels.REJECTIONS, *labels.RETRY_REASONS, *labels.UNDELIVERED),
    "disposition": labels.DISPOSITIONS,
    "how": (*labels.RECOVERED, *labels.DUPLICATES),
    "result": labels.IDEMPOTENCY,
}
_OWN_VALUES = {
    ("client_disconnects", "phase"): labels.DISCONNECT_PHASES,
    ("journal_entries", "state"): labels.JOURNAL_STATES,
    ("queue_rejections", "reason"): labels.REJECTIONS,
    ("upstream_retries", "operation"): labels.RETRIED,
    ("upstream_throttled", "operation"): labels.THROTTLED,
    ("upstream_retries", "reason"): labels.RETRY_REASONS,
    ("undelivered_tasks", "reason"): labels.UNDELIVERED,
    ("recovered_tasks", "how"): labels.RECOVERED,
    ("duplicates_prevented", "how"): labels.DUPLICATES,
}
"""Family and label → values, where a label's values differ by family."""

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
- Counters begin at 0, so that `increase()` counts the first event after a start, too: pictures,
  cost, tasks, refusals and the common statuses of edits for each tenant, its region and each model.
  Where that would be more than 2,500 series, those of pictures, cost and tasks begin when the
  tenant's first edit of the model comes, long before its end is counted.
  Other statuses, and histograms of phases, outcomes and sizes, begin with their first event.
- There are no exemplars: nothing here leads to a single edit. Logs and [traces](traces.md) do.
- There is no family for a reload of the config or for a circuit breaker, since there is neither.
- Counters end in `_total`; a histogram has `_bucket`, `_sum` and `_count`.

Process and garbage collector metrics of the Python client come with them.

`/metrics` asks for no key unless `metrics.token` is set, and can have a port of its own
(`metrics.port`). With neither, several tenants are added up as `tenant="_all"`: whoever may edit
pictures could read the others' names.

Dashboards for Grafana are in `config/grafana/`, recording and alert rules for
Prometheus in `config/prometheus/`; [the runbook](runbook.md) says for each alert what to do, and
`config/compose.yaml` starts the three together. This is what the overview's queries show of two
simulated regions under load, drawn without Grafana, which could not be run here:

![overview](overview.png)
"""


def page() -> str:
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    registry = CollectorRegistry()
    Families(registry)
    users = _users()
    for family in registry._collector_to_names:
        if isinstance(family, MetricWrapperBase):
            yield from _section(family, users)


def _section(family: MetricWrapperBase, users: dict[str, list[str]]) -> Iterator[str]:
    name = family._name + ("_total" if family._type == "counter" else "")
    yield f"## {name}\n"
    yield f"{family._documentation}\n"
    yield f"- type: {family._type}{_unit(family._name)}"
    for label in family._labelnames:
        values = _OWN_VALUES.get(
            (family._name.removeprefix("wan_gateway_"), label), _VALUES.get(label, ())
        )
        listed = ": " + ", ".join(f"`{value}`" for value in values) if values else ""
        yield f"- label `{label}`{listed}"
    if isinstance(family, Histogram):
        bounds = ", ".join(f"{bound:g}" for bound in family._upper_bounds[:-1])
        yield f"- upper bounds: {bounds}"
    yield f"- read by: {', '.join(users[family._name])}\n"


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
    asked = [
        (f"dashboard {json.loads(file.read_text('utf-8'))['title'].rpartition(' / ')[2]}", text)
        for file in sorted((GRAFANA / "dashboards").glob("*.json"))
        for text in [_expressions(file.read_text("utf-8"))]
    ]
    asked += [
        (f"alert [{rule.name}](runbook.md#{rule.name.lower()})", rule.expr)
        for rule in rules("alerts.yml").values()
    ]
    users: dict[str, list[str]] = {}
    for who, text in asked:
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
