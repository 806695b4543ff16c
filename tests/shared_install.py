"""What tests install beside the virtual environment: each once, though workers run together."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
