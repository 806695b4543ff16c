"""
Memory: while a crowd uploads pictures of 10 MB, and over thousands of small edits.

Peaks are the kernel's (VmHWM, reset before), so none is missed. Bytes in flight are the
gateway's own gauge, read four times a second; what it reserves is what clients announced.
"""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import programs
from benchmarks.cost import spawn_of
from benchmarks.photo import photo

_LARGE, _SMALL = 9900, 20  # KB
_IN_FLIGHT = re.compile(r"^\S*inflight_body_bytes (\S+)$", re.MULTILINE)
_AT_ONCE = 32
_MB = 2**20


def uploads(
    folder: Path, crowds: Sequence[tuple[int, bool]], rounds: int, names: Sequence[str]
) -> dict[str, Any]:
    """Return for each crowd of (clients, all in flight at once) base, peak and bytes, in MiB."""
    picture = photo(folder, _LARGE)
    found: dict[str, Any] = {}
    for clients, together in crowds:
        of_crowd = found[f"{clients} uploads"] = {}
        for name in names:
            samples = [
                _upload(folder, name, picture, clients, together=together) for _ in range(rounds)
            ]
            of_crowd[name] = {
                "x_bytes": median(one["x_bytes"] for one in samples),
                "peak_mb": median(one["peak_mb"] for one in samples),
                "rounds": samples,
            }
            print(f"  {clients} uploads {name}: {samples}", flush=True)
    return found


def _upload(
    folder: Path, name: str, picture: Path, clients: int, *, together: bool
) -> dict[str, Any]:
    with (
        programs.running(programs.stub(folder, 0.3, 1_500_000)) as stub,
        programs.running(spawn_of(name, folder, stub.port, 0.3)) as program,
    ):
        programs.run_module("load", program.port, picture, 4, 1, 100_000)
        base = program.resident_mb()
        program.forget_peak()
        words = map(str, (program.port, picture, clients, int(together)))
        most = 0.0
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crowd", *words], stdout=subprocess.PIPE
        ) as crowd:
            while crowd.poll() is None:
                if name == "gateway":
                    most = max(most, _in_flight(program.port))
                programs.rest(0.25)
            assert crowd.stdout is not None
            answer = json.loads(crowd.stdout.read())
        peak = program.peak_mb()
        # Who has no gauge, and no budget, has all of them in flight.
        flight = most / _MB or clients * picture.stat().st_size / _MB
        return {
            **answer,
            "base_mb": base,
            "peak_mb": peak,
            "in_flight_mb": flight,
            "x_bytes": (peak - base) / flight,
            "after_mb": program.resident_mb(),
        }


def _in_flight(port: int) -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            found = _IN_FLIGHT.search(answer.read().decode())
    except OSError:
        return 0.0
    return float(found[1]) if found else 0.0


def growth(folder: Path, marks: Sequence[int]) -> dict[str, Any]:
    """Return the resident set in MiB after so many small edits, 20 KB in and 100 KB out."""
    picture = photo(folder, _SMALL)
    resident: dict[str, float] = {}
    done = failed = 0
    with (
        programs.running(programs.stub(folder, 0.05, 75_000)) as stub,
        programs.running(programs.gateway(folder, stub.port)) as gateway,
    ):
        for mark in marks:
            load = programs.run_module("load", gateway.port, picture, mark - done, _AT_ONCE, done)
            failed += json.loads(load.stdout)["failed"]
            done = mark
            programs.rest(1.0)
            resident[str(mark)] = round(gateway.resident_mb(), 1)
            print(f"  {mark} edits: {resident[str(mark)]} MiB", flush=True)
    return {"resident_mb": resident, "failed": failed}
