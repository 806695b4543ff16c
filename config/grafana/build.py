#!/usr/bin/env python3
"""Dashboards from sources/*.toml: ``config/grafana/build.py`` writes dashboards/*.json again."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).parent
SOURCES = sorted((FOLDER / "sources").glob("*.toml"))
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_TAG = "wan-gateway"
_FULL = 24  # Grafana's grid
_SIZE_BY_KIND = {"stat": (3, 4)}
_SIZE = (8, 8)
_LABEL_OF_VARIABLE = {
    "region": "label_values(wan_gateway_upstream_key_up, region)",
    "tenant": "label_values(wan_gateway_http_requests_total, tenant)",
    "model": "label_values(wan_gateway_tasks_total, model)",
    "instance": "label_values(wan_gateway_ready, instance)",
    "account": "label_values(wan_gateway_upstream_poll_budget_ratio, account)",
}
_COLOR_BY_NAME = (
    ("/(^| )(failed|lost|undelivered|5xx|5..)$/", "red"),
    ("/(^| )(succeeded|delivered|2xx|2..)$/", "green"),
)
_UNIT_BY_CURRENCY = {"CNY": "currencyCNY", "USD": "currencyUSD"}
_PANEL_BY_KIND: dict[str, Json] = {
    "lines": {
        "type": "timeseries",
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    },
    "stat": {
        "type": "stat",
        "options": {
            "colorMode": "value",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    },
    "bars": {
        "type": "bargauge",
        "options": {
            "displayMode": "basic",
            "orientation": "horizontal",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    },
    "heatmap": {
        "type": "heatmap",
        "options": {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
            "tooltip": {"mode": "single", "showColorScale": True},
            "yAxis": {"unit": "s"},
        },
    },
    "state": {
        "type": "state-timeline",
        "options": {
            "mergeValues": True,
            "showValue": "never",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        },
    },
    "table": {"type": "table", "options": {"showHeader": True}},
}


def build(source: Path) -> Json:
    """Return one dashboard in Grafana's JSON model."""
    spec = tomllib.loads(source.read_text("utf-8"))
    return {
        "uid": spec["uid"],
        "title": spec["title"],
        "description": spec["says"],
        "tags": [_TAG],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_alerts()]},
        "links": [_links()],
        "templating": {"list": [_datasource(), *map(_variable, spec["variables"])]},
        "panels": list(_panels(spec["rows"])),
    }


def text_of(dashboard: Json) -> str:
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"


def target_of(source: Path) -> Path:
    return FOLDER / "dashboards" / f"{source.stem}.json"


def _panels(rows: list[Json]) -> Iterator[Json]:
    """Lay panels out from left to right, below the heading of their row."""
    number, y = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row["title"],
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": _FULL, "h": 1},
        }
        x, y, highest = 0, y + 1, 0
        for spec in row["panels"]:
            number += 1
            w, h = _SIZE_BY_KIND.get(spec.get("kind", "lines"), _SIZE)
            if x + w > _FULL:
                x, y, highest = 0, y + highest, 0
            yield {**_panel(spec), "id": number, "gridPos": {"x": x, "y": y, "w": w, "h": h}}
            x, highest = x + w, max(highest, h)
        y += highest


def _panel(spec: Json) -> Json:
    kind = spec.get("kind", "lines")
    return {
        **_PANEL_BY_KIND[kind],
        "title": spec["title"],
        "description": spec["says"],
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": _field(spec), "overrides": list(_overrides())},
        "targets": [
            {
                "refId": chr(ord("A") + nth),
                "datasource": _DATASOURCE,
                "expr": expr,
                "legendFormat": legend,
                "range": kind != "table",
                "instant": kind == "table",
                "format": {"heatmap": "heatmap", "table": "table"}.get(kind, "time_series"),
            }
            for nth, (expr, legend) in enumerate(spec["queries"])
        ],
    }


def _field(spec: Json) -> Json:
    """Return the unit, the thresholds and the looks of a panel's values."""
    steps = spec.get("thresholds", [["green", 0]])
    field: Json = {
        "unit": spec["unit"],
        "thresholds": {
            "mode": "absolute",
            # The first step has no bound: it begins at minus infinity.
            "steps": [
                {"color": color, "value": at if nth else None}
                for nth, (color, at) in enumerate(steps)
            ],
        },
    }
    kind = spec.get("kind", "lines")
    if kind == "lines":
        field["min"] = 0
        field["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 20 if spec.get("stack") else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if spec.get("stack") else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if "thresholds" in spec else "off"},
        }
    elif kind in {"stat", "state", "bars"}:
        field["color"] = {"mode": "thresholds"}
    return field


def _overrides() -> Iterator[Json]:
    """Yield what holds for series by their names: bad ends are red, money has its currency."""
    for pattern, color in _COLOR_BY_NAME:
        yield {
            "matcher": {"id": "byRegexp", "options": pattern},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        }
    for currency, unit in _UNIT_BY_CURRENCY.items():
        yield {
            "matcher": {"id": "byRegexp", "options": f"/(^| ){currency}$/"},
            "properties": [{"id": "unit", "value": unit}],
        }


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
    }


def _variable(name: str) -> Json:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": _LABEL_OF_VARIABLE[name], "refId": name},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _links() -> Json:
    """Return the way to the other dashboards, with time and variables kept."""
    return {
        "title": "wan-gateway",
        "type": "dashboards",
        "tags": [_TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
    }


def _alerts() -> Json:
    """Return the red lines at the times when an alert fired."""
    return {
        "name": "Alerts",
        "enable": True,
        "datasource": _DATASOURCE,
        "expr": 'ALERTS{alertname=~"WanGateway.+", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "iconColor": "red",
    }


if __name__ == "__main__":
    for each in SOURCES:
        target_of(each).write_text(text_of(build(each)), "utf-8")
