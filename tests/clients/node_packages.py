"""Clients from npm, installed once beside the virtual environment."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.programs import cannot
from tests.shared_install import copy_files, exclusive

_HERE = Path(__file__).parent / "node"
_CACHE = Path(__file__).parents[2] / ".cache" / "clients"


def installed() -> Path:
    """
    Return the folder of the scripts and their packages; install these unless they are there.

    Where there is no registry to install them from, the test is skipped.
    """
    wanted = (_HERE / "package.json").read_bytes()
    with exclusive(_CACHE):
        copy_files(_HERE, _CACHE)
        ready = _CACHE / ".ready"
        if not ready.exists() or ready.read_bytes() != wanted:
            quietly = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
            done = subprocess.run(
                ["npm", "install", *quietly],
                cwd=_CACHE,
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                why = [line for line in done.stderr.splitlines() if "npm error" in line][:2]
                cannot(f"npm's packages cannot be installed here: {why}")
            ready.write_bytes(wanted)
    return _CACHE


def run(script: str, runtime: Sequence[str] = ("node",), **order: Any) -> dict[str, Any]:
    """Run a script of node/ with *order*; return what it printed."""
    done = subprocess.run(
        [*runtime, script, json.dumps(order)],
        cwd=_CACHE,
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
