"""Every alert fires when it should and is silent when it should be, by Prometheus' own tool."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.observability.shipped import PROMETHEUS, RUNBOOK, alerts, metrics_in, rules
from tests.programs import needs

Series = Mapping[str, str]

_EDITS = 'route="/v1/images/edits",method="POST",tenant="acme"'
_BJ = 'region="beijing"'
_FAILED = f'wan_gateway_task_failures_total{{{_BJ},model="wan",error_type="%s"}}'
_TASKS = f'wan_gateway_tasks_total{{{_BJ},model="wan",tenant="acme",outcome="succeeded"}}'
_QUERIED = f'wan_gateway_http_requests_total{{{_EDITS},code="%s"}}'
_JOINED = 'wan_gateway_duplicates_prevented_total{how="retry_joined"}'
_OVERHEAD = 'wan_gateway_gateway_overhead_seconds_%s{route="/v1/images/edits"%s}'
_DOCS = "{{ $externalLabels.wan_gateway_docs }}"
_ONE = 'job="wan-gateway",instance="a:8080"'


def _buckets(name: str, below: str, above: str) -> dict[str, str]:
    """Ten a minute, all between the bounds *below* and *above*."""
    place = f'{_BJ},model="wan"' + (',outcome="succeeded"' if "duration" in name else "")
    bounds = ((below, "0x60"), (above, "0+10x60"), ("+Inf", "0+10x60"))
    return {f'{name}_bucket{{{place},le="{le}"}}': values for le, values in bounds}


def _overhead(slow: int, samples: int = 180) -> dict[str, str]:
    """A hundred answers a sample, *slow* of them over 250 ms."""
    return {
        _OVERHEAD % ("bucket", ',le="0.25"'): f"0+{100 - slow}x{samples}",
        _OVERHEAD % ("count", ""): f"0+100x{samples}",
    }


def _delivery(bad: int, joined: int = 0, samples: int = 180) -> dict[str, str]:
    """A hundred edits a sample, *bad* of them answered 503, *joined* of these by a retry."""
    return {
        _QUERIED % "200": f"0+{100 - bad}x{samples}",
        _QUERIED % "503": f"0+{bad}x{samples}",
        _QUERIED % "400": f"0+50x{samples}",
        _JOINED: f"0+{joined}x{samples}",
    }


@dataclass(frozen=True, slots=True)
class AlertCase:
    """What makes an alert fire, in what words, and what nearly does."""

    fires: Series
    says: str
    silent: Series
    labels: Mapping[str, str] = field(default_factory=dict)
    at: str = "30m"
    every: str = "1m"


_LAG = "wan_gateway_poll_detection_lag_seconds"
_TOOK = "wan_gateway_task_duration_seconds"
_HELD = f"wan_gateway_inflight_body_bytes{{{_ONE}}}"
_MAY_HOLD = f"wan_gateway_inflight_body_limit_bytes{{{_ONE}}}"
_KEY = f'wan_gateway_upstream_key_up{{{_BJ},key="main"}}'
_THROTTLED = f'wan_gateway_upstream_throttled_total{{{_BJ},operation="%s"}}'
_OLDEST = f"wan_gateway_queue_oldest_wait_seconds{{{_BJ}}}"
_STORE = 'wan_gateway_result_store_failures_total{operation="%s"}'
_LEFT = 'wan_gateway_client_disconnects_total{phase="%s"}'
_NOT_DELIVERED = "of the requested edits are not delivered (budget: 1 %)."
_OWN_TIME = "The gateway itself took more than 250 ms for "

CASES = {
    "WanGatewayDown": AlertCase(
        {f"up{{{_ONE}}}": "1x25 0x10"},
        "a:8080 has not answered /metrics for a minute.",
        {f"up{{{_ONE}}}": "1x29 0 1"},
        {"instance": "a:8080", "job": "wan-gateway"},
    ),
    "WanGatewayAbsent": AlertCase(
        {'up{job="node",instance="a:9100"}': "1x60"},
        "Prometheus has had no target of the job wan-gateway for 5 minutes, so that no other alert "
        "of it can fire.",
        {f"up{{{_ONE}}}": "0x60"},
        {"job": "wan-gateway"},
    ),
    "WanGatewayLedgerFailing": AlertCase(
        {f"wan_gateway_ledger_write_failures_total{{{_ONE}}}": "0x27 2x10"},
        "2 writes of a:8080 failed in the last 5 minutes: nothing new is submitted, and clients "
        "get 503.",
        {f"wan_gateway_ledger_write_failures_total{{{_ONE}}}": "7x60"},
        {"instance": "a:8080", "job": "wan-gateway"},
    ),
    "WanGatewayUndelivered": AlertCase(
        {f"wan_gateway_recoverable_tasks{{{_ONE}}}": "0x15 2x20"},
        "2 tasks of a:8080 made pictures that no client has fetched for 10 minutes.",
        {f"wan_gateway_recoverable_tasks{{{_ONE}}}": "0x21 2x20"},
        {"instance": "a:8080", "job": "wan-gateway"},
    ),
    "WanGatewayUndeliveredNearExpiry": AlertCase(
        {f"wan_gateway_recoverable_oldest_seconds{{{_ONE}}}": "72060x60"},
        "The oldest undelivered edit of a:8080 is 20h 1m 0s old; DashScope deletes its pictures "
        "after 24 h.",
        {f"wan_gateway_recoverable_oldest_seconds{{{_ONE}}}": "71940x60"},
        {"instance": "a:8080", "job": "wan-gateway"},
    ),
    "WanGatewayPictureExpired": AlertCase(
        {f'wan_gateway_undelivered_tasks_total{{{_ONE},reason="expired"}}': "0x15 1x20"},
        "1 edits of a:8080 expired in the last hour without being delivered.",
        {f'wan_gateway_undelivered_tasks_total{{{_ONE},reason="expired"}}': "7x70"},
        {"instance": "a:8080", "job": "wan-gateway", "reason": "expired"},
    ),
    "WanGatewayResultUnavailable": AlertCase(
        {f'wan_gateway_undelivered_tasks_total{{{_ONE},reason="result_unavailable"}}': "0x15 1x20"},
        "1 edits of a:8080 in the last hour have pictures that cannot be downloaded; the log has "
        "the host and the status.",
        {f'wan_gateway_undelivered_tasks_total{{{_ONE},reason="expired"}}': "7x70"},
        {"instance": "a:8080", "job": "wan-gateway", "reason": "result_unavailable"},
    ),
    "WanGatewayTaskFailures": AlertCase(
        {_FAILED % "upstream_internal": "0+1x60", _TASKS: "0+9x60"},
        "10% of the tasks in beijing made no picture in the last 15 minutes (without content "
        "refusals).",
        {_FAILED % "content_policy": "0+5x60", _FAILED % "network": "0+0x60", _TASKS: "0+9x60"},
        {"region": "beijing"},
    ),
    "WanGatewaySlowTasks": AlertCase(
        _buckets(_TOOK, "120.0", "150.0"),
        "The p95 duration of a task in beijing is 2m 28s.",
        _buckets(_TOOK, "90.0", "120.0"),
        {"region": "beijing"},
    ),
    "WanGatewayDetectionLag": AlertCase(
        _buckets(_LAG, "5.0", "7.5"),
        "The p95 time from the end of a task until the gateway knew it in beijing is 7.375s.",
        _buckets(_LAG, "3.0", "5.0"),
        {"region": "beijing"},
    ),
    "WanGatewayPollBudget": AlertCase(
        {'wan_gateway_upstream_poll_budget_ratio{account="acme-cn"}': "0.9x60"},
        "The account acme-cn uses 90% of its polls_per_second.",
        {'wan_gateway_upstream_poll_budget_ratio{account="acme-cn"}': "0.8x60"},
        {"account": "acme-cn"},
    ),
    "WanGatewaySubmitsThrottled": AlertCase(
        {_THROTTLED % "submit": "0+60x60"},
        "1 submits a second in beijing have been answered with 429 for 5 minutes.",
        {_THROTTLED % "submit": "0x26 60x10", _THROTTLED % "poll": "0+60x60"},
        {"region": "beijing"},
    ),
    "WanGatewayLineStands": AlertCase(
        {_OLDEST: "90x60"},
        "The oldest edit in the queue of beijing has waited 1m 30s.",
        {_OLDEST: "60x60"},
        {"region": "beijing"},
    ),
    "WanGatewayKeyDown": AlertCase(
        {_KEY: "1x25 0x10"},
        "The key main of beijing was refused and has not worked since.",
        {_KEY: "1x29 0 1"},
        {"region": "beijing", "key": "main"},
    ),
    "WanGatewayRegionMismatch": AlertCase(
        {_FAILED % "region_mismatch": "0x25 1x10"},
        "1 submits in beijing were refused in 10 minutes because the key does not know the model "
        "or the region.",
        {_FAILED % "region_mismatch": "1x60", _FAILED % "auth": "0+1x60"},
        {"region": "beijing"},
    ),
    "WanGatewayBytesInFlight": AlertCase(
        {_HELD: "90x60", _MAY_HOLD: "100x60"},
        "a:8080 holds 90% of max_bytes_in_flight; at 100 % it answers 503.",
        {_HELD: "85x60", _MAY_HOLD: "100x60"},
        {"instance": "a:8080", "job": "wan-gateway"},
    ),
    "WanGatewayProxyCuts": AlertCase(
        {_LEFT % "polling": "0+1x60", _QUERIED % "499": "0+1x60", _QUERIED % "200": "0+9x60"},
        "10% of the edits requested in 15 minutes lost their client while the task ran.",
        {_LEFT % "queued": "0+1x60", _LEFT % "polling": "0x60", _QUERIED % "200": "0+9x60"},
    ),
    "WanGatewayResultStoreFailing": AlertCase(
        {_STORE % "put": "0x25 2x10"},
        "2 calls of the operation put failed in 10 minutes.",
        {_STORE % "put": "3x60", _STORE % "list": "0x60"},
        {"operation": "put"},
    ),
    "WanGatewayLabelOverflow": AlertCase(
        {'wan_gateway_metrics_label_overflow_total{label="tenant"}': "0+1x60"},
        "30 values of the label tenant were counted as _other in the last hour.",
        {'wan_gateway_metrics_label_overflow_total{label="tenant"}': "3x60"},
        {"label": "tenant"},
    ),
    "WanGatewayShardWithoutOwner": AlertCase(
        {
            'wan_gateway_shard_held{shard="main",instance="a:8080"}': "1x25 0x10",
            'wan_gateway_shard_held{shard="main",instance="b:8080"}': "0x60",
        },
        "No node owns the shard main: its tenants' requests wait.",
        {
            'wan_gateway_shard_held{shard="main",instance="a:8080"}': "1x25 0x10",
            'wan_gateway_shard_held{shard="main",instance="b:8080"}': "0x25 1x10",
        },
        {"shard": "main"},
    ),
    "WanGatewayConfigsDiffer": AlertCase(
        {
            'wan_gateway_config_differs{instance="a:8080"}': "0x20 1x20",
            'wan_gateway_config_differs{instance="b:8080"}': "0x40",
        },
        "Two nodes have had different tenants, upstreams or models for 5 minutes.",
        {'wan_gateway_config_differs{instance="a:8080"}': "0x27 1x20"},
    ),
    "WanGatewayConfigReloadFailed": AlertCase(
        {f"wan_gateway_config_last_reload_successful{{{_ONE}}}": "1x5 0x30"},
        "a:8080 refused the last reload and goes on with the config that it had.",
        {f"wan_gateway_config_last_reload_successful{{{_ONE}}}": "1x40"},
        {"instance": "a:8080", "job": "wan-gateway"},
    ),
    "WanGatewayDeliveryBurnsFast": AlertCase(
        _delivery(20),
        f"20% {_NOT_DELIVERED}",
        _delivery(20, joined=15),
    ),
    "WanGatewayDeliveryBurnsSlowly": AlertCase(
        _delivery(2),
        f"2% {_NOT_DELIVERED}",
        _delivery(1),
        at="75h",
        every="30m",
    ),
    "WanGatewayOverheadBurnsFast": AlertCase(
        _overhead(20),
        f"{_OWN_TIME}20% of the responses (budget: 1 %).",
        _overhead(5),
    ),
    "WanGatewayOverheadBurnsSlowly": AlertCase(
        _overhead(2),
        f"{_OWN_TIME}2% of the responses (budget: 1 %).",
        _overhead(1),
        at="75h",
        every="30m",
    ),
}


def _group(name: str, *, fires: bool) -> dict[str, Any]:
    case, rule = CASES[name], alerts()[name]
    link = rule.annotations["runbook_url"].replace(_DOCS, "https://docs.test")
    wanted = {
        "exp_labels": {**case.labels, "severity": rule.severity},
        "exp_annotations": {**rule.annotations, "description": case.says, "runbook_url": link},
    }
    series = case.fires if fires else case.silent
    check = {"eval_time": case.at, "alertname": name, "exp_alerts": [wanted] if fires else []}
    return {
        "interval": case.every,
        "external_labels": {"wan_gateway_docs": "https://docs.test"},
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [check],
    }


def _file(every: str, *, fires: bool) -> dict[str, Any]:
    return {
        "rule_files": [str(PROMETHEUS / "rules" / "*.yml")],
        "evaluation_interval": every,
        # What alerts ask for comes first, whatever a glob's order.
        "group_eval_order": ["wan-gateway", "wan-gateway-slo", "wan-gateway-alerts"],
        "tests": [_group(n, fires=fires) for n, case in CASES.items() if case.every == every],
    }


def _judge(folder: Path, *, fires: bool) -> dict[str, str]:
    """Run all rows at once, which costs one process; return what is said of each that failed."""
    files = []
    for every in sorted({case.every for case in CASES.values()}):
        files.append(folder / f"{every}.yml")
        files[-1].write_text(json.dumps(_file(every, fires=fires)), "utf-8")  # JSON is YAML
    done = subprocess.run(
        ["promtool", "test", "rules", *map(str, files)], capture_output=True, text=True, check=False
    )
    output = re.split(r"^ +alertname: ", done.stdout + done.stderr, flags=re.MULTILINE)
    failed = {text.partition(",")[0]: text for text in output[1:]}
    assert bool(failed) == bool(done.returncode), done.stdout + done.stderr
    return failed


@pytest.fixture(scope="module")
def failed_to_fire(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return _judge(tmp_path_factory.mktemp("fires"), fires=True)


@pytest.fixture(scope="module")
def failed_to_be_silent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return _judge(tmp_path_factory.mktemp("silent"), fires=False)


@needs("promtool")
@pytest.mark.parametrize("name", list(CASES))
def test_fires(failed_to_fire: dict[str, str], name: str) -> None:
    """An alert fires with the right labels and its value in words."""
    assert name not in failed_to_fire, failed_to_fire[name]


@needs("promtool")
@pytest.mark.parametrize("name", list(CASES))
def test_stays_silent(failed_to_be_silent: dict[str, str], name: str) -> None:
    """An alert is silent just below its threshold, and for what is not its business."""
    assert name not in failed_to_be_silent, failed_to_be_silent[name]


@needs("promtool")
def test_config_is_good() -> None:
    """Prometheus takes the shipped configuration with all of its rules."""
    command = ["promtool", "check", "config", str(PROMETHEUS / "prometheus.yml")]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout


def test_each_alert_has_its_rows() -> None:
    """No alert ships untested, and no test is of an alert that is gone."""
    assert list(alerts()) == list(CASES)


@pytest.mark.parametrize("name", list(CASES))
def test_each_alert_leads_to_its_section(name: str) -> None:
    """An alert says how bad it is, what happened, and which section tells what to do."""
    rule = alerts()[name]
    anchors = re.findall(r"^## (\w+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)

    assert rule.severity in {"critical", "warning", "info"}
    assert set(rule.annotations) == {"summary", "description", "runbook_url"}
    assert rule.annotations["runbook_url"] == f"{_DOCS}/runbook.md#{name.lower()}"
    assert name in anchors


def test_rules_ask_for_metrics_that_exist(exposed: frozenset[str]) -> None:
    """No rule waits for a metric that the gateway does not export."""
    files = ("alerts.yml", "recording.yml", "slo.yml")

    queried = {
        it for file in files for rule in rules(file).values() for it in metrics_in(rule.expr)
    }

    assert len(queried) > 15
    assert queried <= exposed
