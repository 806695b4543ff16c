"""
What a gateway adds to an edit's time at light load, and how many edits it carries at most.

The stub draws each task's time and remembers when its submit was there, when it ended and when
its end was asked for. *In* is from the client's first byte to the whole submit at the stub,
*late* from the task's end to the question that learns of it, *out* from there to the client's
last byte. *Added* is all three: the wall time minus the task's.
"""

import json
import math
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import programs
from benchmarks.cost import RESULT_BYTES, CostRun, figure_of, spawn_of
from benchmarks.photo import photo

_TASK_SECONDS, _SPREAD = 0.6, 1.0
_CROWD = 64  # clients at once: more than any of these programs can serve without waiting
_PERCENTILES = (50, 95, 99)


def latency(
    folder: Path, kilobytes: int, edits: int, at_once: Sequence[int], names: Sequence[str]
) -> dict[str, Any]:
    """Return percentiles in ms of what is added, by program and number of clients at once."""
    picture = photo(folder, kilobytes)
    found: dict[str, Any] = {}
    for name in names:
        with (
            programs.running(programs.stub(folder, _TASK_SECONDS, RESULT_BYTES, _SPREAD)) as stub,
            programs.running(
                spawn_of(name, folder, stub.port, _TASK_SECONDS * (1 - _SPREAD))
            ) as program,
        ):
            programs.run_module("load", program.port, picture, 20, 2)
            found[name] = {
                f"{n} at once": _added(stub.port, program.port, picture, edits, n) for n in at_once
            }
            print(f"  added by {name}: {found[name]}", flush=True)
    return found


def _added(stub: int, port: int, picture: Path, edits: int, at_once: int) -> dict[str, Any]:
    first = 1000 * at_once
    done = programs.run_module("load", port, picture, edits, at_once, first)
    body = json.loads(done.stdout)
    with urllib.request.urlopen(f"http://127.0.0.1:{stub}/times") as answer:
        times = json.load(answer)
    ways: dict[str, list[float]] = {"in": [], "late": [], "out": [], "in + out": [], "added": []}
    for number, began, ended in body["edits"]:
        arrived, ends, requested = times[str(number)]
        way_in, late, out = arrived - began, requested - ends, ended - requested
        for name, seconds in zip(
            ways, (way_in, late, out, way_in + out, way_in + late + out), strict=True
        ):
            ways[name].append(1000 * seconds)
    return {
        "edits": edits,
        "failed": body["failed"],
        **{name: _percentiles(ms) for name, ms in ways.items()},
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"p{p}": round(ordered[math.ceil(len(ordered) * p / 100) - 1], 1) for p in _PERCENTILES}


def saturation(
    folder: Path, sizes: Sequence[int], edits: int, rounds: int, names: Sequence[str]
) -> dict[str, Any]:
    """Return edits a second with 64 clients at once; stub and clients share the machine."""
    found: dict[str, Any] = {}
    for size in sizes:
        picture = photo(folder, size)
        of_size = found[f"{size} KB"] = {}
        for name in names:
            n = edits // 4 if name == "litellm" else edits
            figures = [figure_of(name, folder, CostRun(picture, n, _CROWD)) for _ in range(rounds)]
            of_size[name] = {
                "per_second": median(f.per_second for f in figures),
                "rounds": [asdict(f) for f in figures],
            }
            print(f"  {size} KB {name}: {of_size[name]['per_second']:.1f} a second", flush=True)
    return found
