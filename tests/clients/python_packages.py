"""Older packages from Python's index, each with what it needs in a folder of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.beside import alone_in

_CACHE = Path(__file__).parents[2] / ".cache" / "python"
_SCRIPT = Path(__file__).parent / "python" / "edit.py"


def installed(name: str, *requirements: str) -> Path:
    """
    Return a folder for PYTHONPATH; install *requirements* there unless they are.

    Where there is no index to install them from, the test is skipped.
    """
    folder = _CACHE / name
    with alone_in(_CACHE):
        if not (folder / ".ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            quietly = ("--quiet", "--disable-pip-version-check", "--target", str(folder))
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", *quietly, *requirements],
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                why = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:]
                pytest.skip(f"{name} cannot be installed here: {why}")
            (folder / ".ready").touch()
    return folder


def edit(packages: Path, base_url: str, picture: Path, **order: Any) -> dict[str, Any]:
    """Run python/edit.py with *packages* and nothing else; return what it printed."""
    told = json.dumps({"base_url": base_url, "picture": str(picture), **order})
    done = subprocess.run(
        [sys.executable, "-S", str(_SCRIPT), told],
        env={"PYTHONPATH": str(packages), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
