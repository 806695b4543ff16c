"""Write a file so that it appears whole or not at all."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def write_file(path: Path, pieces: Iterable[bytes], *, durable: bool) -> None:
    """
    Write *pieces* to *path*, which is replaced if it exists; blocks.

    The folder is made if it is missing, for this user only. Until the file is whole it is called
    ``NAME.*``; a process that is killed in between leaves that one behind.

    Args:
        path: The file.
        pieces: Its content.
        durable: Whether it survives a loss of power, or only the death of the process.

    Raises:
        OSError: the disk fails; nothing of the file is left.
    """
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=f"{path.name}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(partial).replace(path)
    except OSError:
        Path(partial).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names of what is in *folder* survive a loss of power; blocks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
