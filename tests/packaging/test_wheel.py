"""The wheel, installed by itself: what a user of the package gets, without the repository."""

import os
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway import __version__
from tests.shared_install import make_environment, pip

ROOT = Path(__file__).parents[2]


def _run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Return what *command* prints; it must end well and complain of nothing."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        # Neither this repository nor its environment may be found by accident.
        env={name: v for name, v in os.environ.items() if name[:6] != "PYTHON"} | dict(env or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _pip(*arguments: str) -> str:
    done = pip(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_wheel_works_by_itself(tmp_path: Path) -> None:
    """Built, installed into an empty environment, it checks a config and plays the demo."""
    _pip("wheel", "--no-deps", "-w", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("*.whl")
    make_environment(tmp_path / "venv")
    bin_ = tmp_path / "venv" / "bin"
    there = ("--python", str(bin_ / "python"))
    _pip(*there, "install", "-c", str(ROOT / "constraints.txt"), f"{wheel}[demo]")
    gateway = bin_ / "wan-gateway"
    minimal = ROOT / "config" / "minimal.toml"
    key = {"DASHSCOPE_API_KEY": "sk-canary"}

    version = _run(gateway, "--version", cwd=tmp_path)
    checked = _run(gateway, "check", "--config", minimal, cwd=tmp_path, env=key)
    played = _run(gateway, "demo", "--out", "pictures", cwd=tmp_path)
    installed = _pip(*there, "freeze")

    assert version == f"wan-gateway {__version__}\n"
    assert "is good" in checked
    assert "sk-canary" not in checked
    assert played
    assert sorted(file.name for file in (tmp_path / "pictures").iterdir()) == [
        "acme.png",
        "globex.png",
    ]
    _is_pinned(installed)
    _holds_what_it_needs(wheel)


def _is_pinned(installed: str) -> None:
    pinned = {line.casefold() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for line in installed.splitlines():
        if not line.startswith("wan-gateway"):
            assert line.casefold() in pinned, f"{line} is not in constraints.txt"


def _holds_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    assert "gateway/commands/photo.jpg" in names
    page = {
        "dashboard.html",
        "sign_in.html",
        "dashboard.css",
        "dashboard.js",
        "elements.js",
        "icon.svg",
    }
    assert {f"gateway/downstream/static/{name}" for name in page} <= names
    assert all(name.startswith(("gateway/", "wan_gateway-")) for name in names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_constraints_hold_no_address() -> None:
    """Any index serves: the file says versions and nothing else."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()

    assert lines[0].startswith("#")
    for line in lines[1:]:
        name, is_, version = line.partition("==")
        assert name.replace("-", "").replace("_", "").replace(".", "").isalnum()
        assert is_
        assert version[0].isdigit()
