"""
What an edit costs: CPU and memory of the gateway beside a floor, LiteLLM and the SDK.

python -m benchmarks.cost [--edits 400] [--at-once 8] [--sizes 20 1000 9900] [--rounds 3]

Every program runs alone against the same stub, in turn, several rounds; CPU is the process's
own (user and system), so that a noisy machine moves all alike. Read the ratios.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import programs
from benchmarks.litellm_proxy import installed, litellm
from benchmarks.photo import photo

TASK_SECONDS = 0.3
RESULT_BYTES = 1_500_000  # 2 MB in base64
SIZES = (20, 1000, 9900)  # KB
_SLOW = ("litellm", "sdk")
_LARGE = 5000  # KB
_FEWER = 4  # times fewer edits of large pictures, and by those that take 100 ms or wait a second


@dataclass(frozen=True, slots=True)
class Figure:
    cpu_ms: float
    """An edit."""
    peak_mb: float
    base_mb: float
    """Before the edits that count; 0 where it is not known."""
    per_second: float
    p50: float
    """Seconds that a client waited, the task's time included."""
    p95: float
    failed: int


@dataclass(frozen=True, slots=True)
class CostRun:
    """So many edits at a time of one picture, by one program."""

    photo: Path
    edits: int
    at_once: int
    task_seconds: float = TASK_SECONDS
    result_bytes: int = RESULT_BYTES


def cost(
    folder: Path, sizes: Sequence[int], edits: int, at_once: int, rounds: int, names: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of each program by size: each round's, and the median CPU in ms."""
    found: dict[str, Any] = {}
    for size in sizes:
        picture = photo(folder, size)
        figures: dict[str, list[Figure]] = {name: [] for name in names}
        for _ in range(rounds):
            for name, values in figures.items():
                run = CostRun(picture, _edits(edits, size, name), at_once)
                values.append(figure_of(name, folder, run))
                print(f"  {size} KB {name}: {values[-1]}", flush=True)
        cpu = {name: median(f.cpu_ms for f in values) for name, values in figures.items()}
        found[f"{size} KB"] = {
            "bytes": picture.stat().st_size,
            "cpu_ms": cpu,
            "x_floor": {name: ms / cpu["floor"] for name, ms in cpu.items()},
            "rounds": {name: [asdict(f) for f in values] for name, values in figures.items()},
        }
    return found


def _edits(edits: int, kilobytes: int, name: str) -> int:
    fewer = (_FEWER if name in _SLOW else 1) * (_FEWER if kilobytes > _LARGE else 1)
    return max(16, edits // fewer)


def figure_of(name: str, folder: Path, run: CostRun) -> Figure:
    """Run the program *name* and the stub, alone, and measure it."""
    stub_spawn = programs.stub(folder, run.task_seconds, run.result_bytes)
    with programs.running(stub_spawn) as stub:
        if name == "sdk":
            return _of_sdk(stub.port, run)
        with programs.running(spawn_of(name, folder, stub.port, run.task_seconds)) as program:
            return _measured(program, run)


def spawn_of(name: str, folder: Path, stub_port: int, task_seconds: float) -> programs.Spawn:
    match name:
        case "floor":
            return programs.floor(folder, stub_port, task_seconds)
        case "gateway":
            return programs.gateway(folder, stub_port)
        case _:
            command = installed()
            assert command is not None
            return litellm(folder, stub_port, command)


def known_programs() -> tuple[str, ...]:
    """Return the names of all that can run here."""
    return ("floor", "gateway", "sdk", *(["litellm"] if installed() else []))


def _measured(program: programs.Program, run: CostRun) -> Figure:
    warm = max(16, run.at_once * 2)
    programs.run_module("load", program.port, run.photo, warm, run.at_once)
    base = program.resident_mb()
    cpu = program.cpu_seconds()
    done = programs.run_module("load", program.port, run.photo, run.edits, run.at_once, warm)
    cpu = program.cpu_seconds() - cpu
    answer = json.loads(done.stdout)
    seconds = sorted(ended - began for _, began, ended in answer["edits"])
    took = max(e for _, _, e in answer["edits"]) - min(b for _, b, _ in answer["edits"])
    return Figure(
        cpu_ms=1000 * cpu / run.edits,
        peak_mb=program.peak_mb(),
        base_mb=base,
        per_second=run.edits / took,
        p50=seconds[len(seconds) // 2],
        p95=seconds[int(len(seconds) * 0.95)],
        failed=answer["failed"],
    )


def _of_sdk(stub_port: int, run: CostRun) -> Figure:
    done = programs.run_module("sdk", stub_port, run.photo, run.edits, run.at_once)
    answer = json.loads(done.stdout)
    seconds = sorted(answer["seconds"])
    return Figure(
        cpu_ms=1000 * answer["cpu_seconds"] / run.edits,
        peak_mb=answer["peak_mb"],
        base_mb=0.0,
        per_second=run.at_once / (sum(seconds) / len(seconds)),
        p50=seconds[len(seconds) // 2],
        p95=seconds[int(len(seconds) * 0.95)],
        failed=run.edits - len(seconds),
    )


def summary(found: dict[str, Any]) -> str:
    lines = []
    for size, of_size in found.items():
        parts = [
            f"{name} {of_size['cpu_ms'][name]:.2f} ms ({ratio:.2f} x)"
            for name, ratio in of_size["x_floor"].items()
        ]
        lines.append(f"{size}: " + ", ".join(parts))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=400)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--programs", nargs="*", default=["floor", "gateway"])
    args = parser.parse_args()
    print(programs.machine())
    with tempfile.TemporaryDirectory() as ticket:
        found = cost(Path(ticket), args.sizes, args.edits, args.at_once, args.rounds, args.programs)
    print(summary(found))


if __name__ == "__main__":
    main()
