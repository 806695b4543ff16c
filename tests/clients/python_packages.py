"""Packages from Python's index that cannot live beside ours, each in a folder of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.programs import cannot
from tests.shared_install import exclusive, make_environment, pip

_CACHE = Path(__file__).parents[2] / ".cache" / "python"
_SCRIPT = Path(__file__).parent / "python" / "edit.py"


def installed(name: str, *requirements: str) -> Path:
    """
    Return a folder for PYTHONPATH; install *requirements* there unless they are.

    Where there is no index to install them from, the test is skipped.
    """
    folder = _CACHE / name
    with exclusive(_CACHE / "locks" / name):
        if not (folder / ".ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _pip(name, "install", "--target", str(folder), *requirements)
            (folder / ".ready").touch()
    return folder


def environment(name: str, *requirements: str) -> Path:
    """
    Return the folder of programs of a virtual environment of its own, made unless it is there.

    Where there is no index to install *requirements* from, the test is skipped.
    """
    folder = _CACHE / name
    wanted = "\n".join(requirements)
    with exclusive(_CACHE / "locks" / name):
        ready = folder / ".ready"
        if not ready.exists() or ready.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            make_environment(folder)
            _pip(name, "--python", str(folder / "bin" / "python"), "install", *requirements)
            ready.write_text(wanted)
    return folder / "bin"


def _pip(name: str, *command: str) -> None:
    done = pip(*command, "--no-compile")
    if done.returncode:
        why = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:]
        cannot(f"{name} cannot be installed here: {why}")


def run(python: Path, script: str, **order: Any) -> Any:
    """Run a script of python/ with *order* by another environment's *python*."""
    done = subprocess.run(
        [str(python), str(_SCRIPT.parent / script), json.dumps(order)],
        check=False,
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


def edit(packages: Path, base_url: str, picture: Path, **order: Any) -> dict[str, Any]:
    """Run python/edit.py with *packages* and nothing else; return what it printed."""
    reported = json.dumps({"base_url": base_url, "picture": str(picture), **order})
    done = subprocess.run(
        [sys.executable, "-S", str(_SCRIPT), reported],
        env={"PYTHONPATH": str(packages), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
