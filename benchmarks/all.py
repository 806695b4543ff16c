"""
Every benchmark of the gateway in one run, with raw figures as JSON and plots.

python -m benchmarks.all [--quick] [--only start cost ...] [--json FILE] [--plots FOLDER]

About twenty minutes; --quick is a smoke test of two minutes whose figures mean nothing.
Everything is on loopback, and whatever is started is ended by its id. LiteLLM is installed by
pip into an environment of its own among the temporary files, and left out if that fails.
"""

import argparse
import json
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from benchmarks import cost, latency, litellm_proxy, memory, plots, programs, start


@dataclass(frozen=True, slots=True)
class _Scale:
    """How much of everything."""

    rounds: int
    edits: int
    sizes: tuple[int, ...]
    crowds: tuple[tuple[int, bool], ...]
    marks: tuple[int, ...]
    starts: int


_FULL = _Scale(3, 240, cost.SIZES, ((50, True), (200, False)), (1000, 2000, 5000, 10000), 10)
_QUICK = _Scale(1, 40, (20, 1000), ((10, True),), (100, 200), 2)


def _parts(folder: Path, scale: _Scale, names: tuple[str, ...]) -> dict[str, Callable[[], Any]]:
    servers = tuple(name for name in names if name != "sdk")
    ours = tuple(name for name in servers if name != "floor")
    return {
        "start": lambda: start.start(folder, scale.starts),
        "cost": lambda: cost.cost(folder, scale.sizes, scale.edits, 8, scale.rounds, names),
        "latency": lambda: latency.latency(folder, 1000, scale.edits // 2, (1, 2), servers),
        "saturation": lambda: latency.saturation(folder, scale.sizes[:2], scale.edits, 1, servers),
        "uploads": lambda: memory.uploads(folder, scale.crowds, 1, ours),
        "growth": lambda: memory.growth(folder, scale.marks),
    }


def _versions() -> dict[str, str]:
    found = {name: version_of(name) for name in ("aiohttp", "dashscope", "httpx", "uvicorn")}
    if command := litellm_proxy.installed():
        found["litellm"] = litellm_proxy.version(command)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    parser.add_argument("--only", nargs="*", default=[], help="parts: start, cost, latency …")
    parser.add_argument("--json", type=Path, help="where to write all figures; kept ones stay")
    parser.add_argument("--plots", type=Path, help="a folder for a plot of each figure")
    parser.add_argument("--edits", type=int, help="in each round, of the smaller sizes")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all that runs is ended
    found: dict[str, Any] = {}
    if args.json and args.json.exists():
        found = json.loads(args.json.read_text())
    found |= {"machine": programs.machine(), "versions": _versions()}
    print(json.dumps(found["machine"] | found["versions"], indent=1), flush=True)
    with tempfile.TemporaryDirectory() as ticket:
        scale = _QUICK if args.quick else _FULL
        scale = replace(scale, edits=args.edits or scale.edits)
        for name, part in _parts(Path(ticket), scale, cost.known_programs()).items():
            if not args.only or name in args.only:
                print(f"{name}, load {os.getloadavg()[0]:.2f}", flush=True)
                found[name] = part()
                if args.json:
                    args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
    print(plots.summary(found))
    if args.plots:
        plots.draw(args.plots, found)


if __name__ == "__main__":
    main()
