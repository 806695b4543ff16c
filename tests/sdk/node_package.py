"""OpenAI's npm package, installed once beside the virtual environment."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.shared_install import copy_files, exclusive

_HERE = Path(__file__).parent / "node"
_CACHE = Path(__file__).parents[2] / ".cache" / "node"


def installed() -> Path:
    """Return the folder of edit.mjs and its package; install that unless it is there."""
    wanted = json.loads((_HERE / "package.json").read_text("utf-8"))["dependencies"]["openai"]
    with exclusive(_CACHE):
        copy_files(_HERE, _CACHE)
        there = _CACHE / "node_modules" / "openai" / "package.json"
        if not there.exists() or json.loads(there.read_text("utf-8"))["version"] != wanted:
            quietly = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
            npm = ["npm", "install", *quietly]
            subprocess.run(npm, cwd=_CACHE, check=True, capture_output=True)
    return _CACHE


def edit(base_url: str, key: str, picture: Path, how: str) -> dict[str, Any]:
    """Run edit.mjs; return what it printed."""
    done = subprocess.run(
        ["node", "edit.mjs", base_url, key, str(picture), how],
        cwd=_CACHE,
        check=True,
        capture_output=True,
        timeout=120,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
