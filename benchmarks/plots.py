"""All figures of a run: said in a few lines, and drawn, a plot each."""

from pathlib import Path
from typing import Any

from benchmarks import cost, start
from benchmarks.plot import Axis, bars, lines


def summary(found: dict[str, Any]) -> str:
    """Return the run's medians as text."""
    words = []
    if "start" in found:
        words.append(start.summary(found["start"]))
    if "cost" in found:
        words.append(cost.summary(found["cost"]))
    for name, ways in found.get("latency", {}).items():
        words += [
            f"added by {name}, {n}: {way['added']}, of it in + out {way['in + out']} ms"
            for n, way in ways.items()
        ]
    for size, by_name in found.get("saturation", {}).items():
        rates = ", ".join(f"{name} {of['per_second']:.1f}" for name, of in by_name.items())
        words.append(f"edits a second, {size}: {rates}")
    for crowd, by_name in found.get("uploads", {}).items():
        words += [
            f"{crowd}, {name}: peak {of['peak_mb']:.0f} MiB, base + {of['x_bytes']:.2f} x bytes"
            for name, of in by_name.items()
        ]
    if "growth" in found:
        words.append(f"resident MiB after edits: {found['growth']['resident_mb']}")
    return "\n".join(words)


def draw(folder: Path, found: dict[str, Any]) -> None:
    """Write a plot for each figure of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    if "start" in found:
        seconds = {"ready": found["start"]["ready_s"], "import": found["start"]["import_s"]}
        bars(folder / "start.svg", Axis("Start", "seconds, median"), {"": seconds})
    if "cost" in found:
        _draw_cost(folder, found["cost"])
    if "latency" in found:
        _draw_latency(folder, found["latency"])
    if "saturation" in found:
        rates = {
            size: {name: of["per_second"] for name, of in by_name.items()}
            for size, by_name in found["saturation"].items()
        }
        figure = Axis("Edits a second at saturation", "64 clients at once; median")
        bars(folder / "saturation.svg", figure, rates)
    if "uploads" in found:
        _draw_uploads(folder, found["uploads"])
    if "growth" in found:
        marks = found["growth"]["resident_mb"]
        queue = [(float(n), mb) for n, mb in marks.items()]
        figure = Axis("Resident set over small edits", "MiB after so many edits")
        lines(folder / "growth.svg", figure, {"gateway": queue})


def _draw_cost(folder: Path, found: dict[str, Any]) -> None:
    rows = {size: of_size["cpu_ms"] for size, of_size in found.items()}
    bars(folder / "cost.svg", Axis("CPU of an edit", "ms, 8 at once; median of rounds"), rows)
    ratios = {size: of_size["x_floor"] for size, of_size in found.items()}
    figure = Axis("CPU of an edit, by the floor's", "x floor in the same run")
    bars(folder / "cost-ratio.svg", figure, ratios)


def _draw_latency(folder: Path, found: dict[str, Any]) -> None:
    for way, file, title in (
        ("in + out", "latency-own.svg", "Added on the way in and out"),
        ("added", "latency.svg", "Added in all: the way in and out, and noticing the end"),
    ):
        rows = {
            f"{name}, {n}": dict(percentiles[way])
            for name, ways in found.items()
            for n, percentiles in ways.items()
        }
        bars(folder / file, Axis(title, "ms at light load, 1 MB in, 2 MB out"), rows)


def _draw_uploads(folder: Path, found: dict[str, Any]) -> None:
    rows = {}
    for crowd, by_name in found.items():
        for name, of in by_name.items():
            samples = sorted(of["rounds"], key=lambda one: one["peak_mb"])[len(of["rounds"]) // 2]
            rows[f"{crowd}, {name}"] = {
                "base": samples["base_mb"],
                "bytes": samples["in_flight_mb"],
                "peak": samples["peak_mb"],
            }
    figure = Axis("Memory while pictures of 9.2 MB come in", "MiB: base, bytes in flight, peak")
    bars(folder / "uploads.svg", figure, rows)
