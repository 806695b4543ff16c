"""What tests install beside the virtual environment: each once, though workers run together."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# coverage would slow pip down, and PYTHONPATH could bring in what is not installed.
_LEFT_OUT = {"COVERA", "PYTHON"}


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Make *folder*, and wait until no other worker is at work in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
        yield


def copy_files(source: Path, folder: Path) -> None:
    """Copy the files of *source*; one that is there already may be in use, and is left alone."""
    for file in source.iterdir():
        content, copy = file.read_bytes(), folder / file.name
        if not copy.exists() or copy.read_bytes() != content:
            new = folder / f"{file.name}.new"
            new.write_bytes(content)
            new.replace(copy)


def make_environment(folder: Path) -> None:
    """Make a virtual environment without pip, which takes longest: `pip` installs there."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)


def pip(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run our own pip, whatever the outcome; with ``--python`` it installs elsewhere."""
    env = {name: value for name, value in os.environ.items() if name[:6] not in _LEFT_OUT}
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, env=env, check=False, capture_output=True, text=True)
