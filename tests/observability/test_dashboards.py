"""Dashboards: complete, of one build, and alive before a real Prometheus and a real gateway."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.grafana import build as grafana
from tests.fast_time import FastLoop
from tests.observability.play import live, town
from tests.observability.prometheus import WINDOW, Prometheus, prometheus
from tests.observability.shipped import GRAFANA, metrics_in, rules
from tests.programs import needs

_FILES = sorted((GRAFANA / "dashboards").glob("*.json"))


def _panels(file: Path) -> list[dict[str, Any]]:
    panels = json.loads(file.read_text("utf-8"))["panels"]
    return [panel for panel in panels if panel["type"] != "row"]


_PANELS = [
    pytest.param(panel, id=f"{file.stem}: {panel['title']}")
    for file in _FILES
    for panel in _panels(file)
]
_QUERIES = [
    pytest.param(target["expr"], id=f"{file.stem}: {panel['title']} {target['refId']}")
    for file in _FILES
    for panel in _panels(file)
    for target in panel["targets"]
]


def test_four_dashboards_are_of_one_build() -> None:
    """The JSON that ships is what config/grafana/build.py makes of the sources."""
    assert [file.stem for file in _FILES] == ["overview", "self", "tenants", "upstreams"]
    for source in grafana.SOURCES:
        shipped = grafana.target_of(source).read_text("utf-8")
        assert shipped == grafana.text_of(grafana.build(source)), "run config/grafana/build.py"


@pytest.mark.parametrize("panel", _PANELS)
def test_panel_is_complete(panel: dict[str, Any]) -> None:
    """A panel says what it shows, in which unit, from when on it is bad, and whose data it asks."""
    field = panel["fieldConfig"]["defaults"]

    assert len(panel["description"]) > 10
    assert field["unit"]
    assert field["thresholds"]["steps"][0]["value"] is None
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        assert len(target["legendFormat"]) > 0 or target["instant"]


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_panels_do_not_overlap(file: Path) -> None:
    """Each cell of the grid belongs to one panel, and none is beyond its edge."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file.read_text("utf-8"))["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_dashboards_lead_to_each_other() -> None:
    """Each has a name of its own, the tag that the links follow, and links that keep the time."""
    answer = [json.loads(file.read_text("utf-8")) for file in _FILES]

    assert len({it["uid"] for it in answer}) == len({it["title"] for it in answer}) == 4
    for it in answer:
        (link,) = it["links"]
        assert set(link["tags"]) <= set(it["tags"])
        assert link["keepTime"]
        assert it["description"]


def test_every_metric_is_shown(exposed: frozenset[str]) -> None:
    """Dashboards and rules together ask for each family, and for nothing that is not exported."""
    queried = {name for query in _QUERIES for name in metrics_in(str(query.values[0]))}
    for file in ("recording.yml", "slo.yml", "alerts.yml"):
        queried |= {name for rule in rules(file).values() for name in metrics_in(rule.expr)}

    assert queried <= exposed
    assert {_family(name) for name in exposed} == {_family(name) for name in queried}


def _family(sample: str) -> str:
    return re.sub(r"_(bucket|count|sum|total)$", "", sample)


# ---------------------------------------------------------------- with a real Prometheus


@dataclass(frozen=True, slots=True)
class ScrapedGateway:
    """What Prometheus holds after some life, and when that life was."""

    prometheus: Prometheus
    until: float


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScrapedGateway]:
    with (
        prometheus(tmp_path_factory.mktemp("prometheus")) as watcher,
        asyncio.Runner(loop_factory=FastLoop) as runner,
    ):

        async def live_watched() -> float:
            async with town() as home:
                watcher.scrape(home.url)
                await watcher.looks()
                return await live(home, watcher.looks)

        yield ScrapedGateway(watcher, runner.run(live_watched()))


def queried(query: str) -> str:
    """Return a panel's query as Grafana would send it, with all variables at "All"."""
    for name, value in (
        ("$__rate_interval", WINDOW),
        ("$__range", WINDOW),
        ("$region", ".*"),
        ("$tenant", ".*"),
        ("$account", ".*"),
        ("$model", ".*"),
        ("$instance", ".*"),
    ):
        query = query.replace(name, value)
    assert "$" not in query
    return query


@needs("prometheus")
@pytest.mark.parametrize("query", _QUERIES)
def test_query_returns_data(seen: ScrapedGateway, query: str) -> None:
    """Each query of each panel finds numbers; what counts bad things finds zeros."""
    found = seen.prometheus.query(queried(query), seen.until)

    assert found, query
