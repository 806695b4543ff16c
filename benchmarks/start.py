"""
How long the gateway takes to be ready, and to be imported.

python -m benchmarks.start [--quick]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import programs

_LIBRARIES = "import starlette, uvicorn, aiohttp, PIL"
_IMPORTS = {
    "python alone": "pass",
    "gateway.app": "import gateway.app",
    "its libraries": _LIBRARIES,
}


def start(folder: Path, rounds: int) -> dict[str, Any]:
    """
    Return seconds from spawn to the first 200 of /readyz, and of an import; every round's.

    *x_libraries* is the first by the time of a Python that only imports the largest libraries.
    """
    ready, cpu = [], list[float]()
    imports = {name: list[float]() for name in _IMPORTS}
    with programs.running(programs.stub(folder, 0.3, 1000)) as stub:
        for _ in range(rounds):
            with programs.running(programs.gateway(folder, stub.port)) as gateway:
                ready.append(gateway.ready_seconds)
                cpu.append(gateway.cpu_seconds())
            for name, code in _IMPORTS.items():
                imports[name].append(_seconds_of(code))
    return {
        "ready_s": median(ready),
        "x_libraries": median(ready) / median(imports["its libraries"]),
        "ready_cpu_s": median(cpu),
        "import_s": median(imports["gateway.app"]) - median(imports["python alone"]),
        "rounds": {"ready": ready, "ready_cpu": cpu, "imports": imports},
    }


def _seconds_of(code: str) -> float:
    began = time.perf_counter()
    env = os.environ | programs.COMPILED
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    return time.perf_counter() - began


def summary(figures: dict[str, Any]) -> str:
    ready, cpu = figures["ready_s"], figures["ready_cpu_s"]
    return (
        f"ready in {ready:.3f} s with {cpu:.2f} s of CPU, {figures['x_libraries']:.2f} x the import"
        f" of its libraries; imported in {figures['import_s']:.3f} s"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as ticket:
        print(summary(start(Path(ticket), 2 if "--quick" in sys.argv else 10)))
