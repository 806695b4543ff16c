#!/usr/bin/env python3
# /// script
# dependencies = ["matplotlib"]
# ///
"""
Draw docs/overview.png: the overview's panels, as a real Prometheus saw a gateway under load.

``python docs/draw_overview.py``, from the repository's root, with matplotlib beside the
development dependencies, and with Debian's prometheus. Grafana is not needed: the queries are
those of config/grafana/dashboards/overview.json. Tasks take 4 s; x axes are seconds.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import matplotlib as mpl  # noqa: E402 - the root of the repository comes first

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - after the choice of the Agg backend
from matplotlib.axes import Axes  # noqa: E402 - the same

from tests.harness import Harness  # noqa: E402 - the same
from tests.observability.play import edit, leave, town  # noqa: E402 - the root comes first
from tests.observability.prometheus import Prometheus, prometheus  # noqa: E402 - the same

_SECONDS = 60.0  # of load
_WINDOW = "8s"
_UNITS = {"s": " [s]", "reqps": " [1/s]", "ops": " [1/s]"}
_INK, _PAPER, _FAINT = "#d8d9da", "#161719", "#2c3235"
_COLORS = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0")


async def _load(harness: Harness, until: float) -> None:
    """Ask for edits in a rhythm that swells and ebbs, some of which go wrong."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        number = 0
        while loop.time() < until:
            number += 1
            group.create_task(edit(harness, "acme", f"sepia {number}", number % 200))
            if number % 2:
                group.create_task(edit(harness, "abroad", f"snow {number}", number % 200))
            if number % 5 == 0:
                group.create_task(edit(harness, "studio", f"{number} [sandbox:fail InternalError]"))
            if number % 7 == 0:
                refused = f"{number} [sandbox:refuse DataInspectionFailed]"
                group.create_task(edit(harness, "studio", refused))
            if number % 9 == 0:
                group.create_task(_come_back(harness, f"gone {number}", wait=number % 2 * 2.0))
            await asyncio.sleep(0.5 if (number // 12) % 2 else 1.0)


async def _come_back(harness: Harness, prompt: str, *, wait: float) -> None:
    await leave(harness, "acme", prompt)
    await asyncio.sleep(wait)
    await edit(harness, "acme", prompt, x_stainless_retry_count="1")


def _watch(watcher: Prometheus) -> tuple[float, float]:
    async def live() -> tuple[float, float]:
        async with town() as harness:
            watcher.scrape(harness.url)
            await watcher.sees('up{job="wan-gateway"} == 1')
            start = watcher.now()
            await _load(harness, asyncio.get_running_loop().time() + _SECONDS)
            return start, watcher.now()

    # In real time, other than in the tests: latencies are those of this machine.
    return asyncio.run(live())


def _query_of(query: str) -> str:
    query = query.replace("$__rate_interval", _WINDOW)
    return query.replace("$region", ".*")


def _label(legend: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        legend = legend.replace("{{" + name + "}}", value)
    return legend


def _draw(
    axes: Axes, panel: dict[str, Any], watcher: Prometheus, span: tuple[float, float]
) -> None:
    start, end = span
    lines = [
        (_label(target["legendFormat"], found["metric"]), found["values"])
        for target in panel["targets"]
        for found in watcher.lines(_query_of(target["expr"]), start + 4, end, 0.5)
    ]
    lines = [(label, it) for label, it in lines if any(float(v) > 0 for _, v in it if v != "NaN")]
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    clock = sorted({float(at) for _, values in lines for at, _ in values})
    below = [0.0] * len(clock)
    for (label, values), color in zip(lines, _COLORS * 3, strict=False):
        found = {float(at): float(value) for at, value in values}
        ys = [found.get(at, 0.0 if stacked else float("nan")) for at in clock]
        ys = [0.0 if stacked and y != y else y for y in ys]  # noqa: PLR0124 - NaN
        xs = [at - start for at in clock]
        if stacked:
            top = [a + b for a, b in zip(below, ys, strict=True)]
            axes.fill_between(xs, below, top, color=color, alpha=0.75, linewidth=0, label=label)
            below = top
        else:
            axes.plot(xs, ys, color=color, linewidth=1.2, label=label)
    unit = _UNITS.get(panel["fieldConfig"]["defaults"]["unit"], "")
    axes.set_title(panel["title"] + unit, color=_INK, fontsize=8, loc="left", pad=4)
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.25)
    axes.legend(
        *axes.get_legend_handles_labels(),
        fontsize=5.5,
        frameon=False,
        labelcolor=_INK,
        ncols=2,
        loc="upper left",
    )


def _style(axes: Axes) -> None:
    axes.set_facecolor(_PAPER)
    axes.tick_params(colors=_INK, labelsize=6, length=0)
    axes.grid(color=_FAINT, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)


def main() -> None:
    dashboard = json.loads((ROOT / "config/grafana/dashboards/overview.json").read_text("utf-8"))
    # Without the service levels: they compare windows of days.
    panels = [
        panel
        for panel in dashboard["panels"]
        if panel["type"] == "timeseries" and "ratio_rate" not in panel["targets"][0]["expr"]
    ]
    with tempfile.TemporaryDirectory() as folder, prometheus(Path(folder)) as watcher:
        span = _watch(watcher)
        rows = -(-len(panels) // 3)
        figure, grid = plt.subplots(rows, 3, figsize=(12, 2.2 * rows), facecolor=_PAPER)
        for axes in grid.flat:
            _style(axes)
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            axes.set_visible(True)
            _draw(axes, panel, watcher, span)
        figure.tight_layout(pad=1.0)
        figure.savefig(ROOT / "docs" / "overview.png", dpi=110, facecolor=_PAPER)


if __name__ == "__main__":
    main()
