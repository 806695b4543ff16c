"""
Which process serves a config, and how its last reload ended: a small file for other commands.

The process holds a lock on it, which the kernel releases when the process dies, so that a
locked file names a process that lives (D116).
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Self

_MOST_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What the file says."""

    pid: int = field(default_factory=os.getpid)
    begun: int = 0
    """Reloads that have begun since the start of the process."""
    ended: int = 0
    refusal: str = ""
    """Why the last reload that ended was refused; empty if it was not."""
    outcome: str = ""
    """What the last reload that succeeded changed."""


def process_file_of(ledger: Path | None, source: str) -> Path:
    """
    Return where the file of a gateway is.

    Args:
        ledger: The file of its ledger, which the file is beside; ``None``: it has none.
        source: The file of its config, or ``environment``.
    """
    if ledger is not None:
        ledger = ledger.resolve()
        return ledger.with_name(ledger.name + ".process")
    name = sha256(os.fsencode(Path(source).resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"wan-gateway-{os.getuid()}-{name}.process")


class ProcessFile:
    """
    The file of this process. Use as a context manager.

    Args:
        path: See ``process_file_of``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.status = ProcessStatus()
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """
        Lock the file and write it.

        Raises:
            OSError: it cannot be written, or another process has it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(descriptor, 0o600)  # of a stranger's file this is refused
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._write()
        return self

    def __exit__(self, *exc: object) -> None:
        # It is not removed: between a removal and the next opening two processes could lock
        # two files of one name.
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def begin(self) -> None:
        """Record that a reload has begun."""
        self.status = replace(self.status, begun=self.status.begun + 1)
        self._write()

    def end(self, *, refusal: str = "", outcome: str = "") -> None:
        """Record how it ended."""
        self.status = replace(
            self.status, ended=self.status.begun, refusal=refusal, outcome=outcome
        )
        self._write()

    def _write(self) -> None:
        if self._descriptor is None:
            return
        content = json.dumps(asdict(self.status)).encode()
        with suppress(OSError):  # a full disk prevents no reload
            os.pwrite(self._descriptor, content, 0)
            os.ftruncate(self._descriptor, len(content))


def read_process(path: Path) -> ProcessStatus | None:
    """
    Return what the file of a running gateway says; ``None`` if none runs.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is being written.
    """
    with _opened(path) as descriptor:
        if descriptor is None or not _is_locked(descriptor):
            return None
        status = ProcessStatus(**json.loads(os.pread(descriptor, _MOST_BYTES, 0)))
        _check_owner(descriptor, status.pid)
        return status


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _check_owner(descriptor: int, pid: int) -> None:
    """Refuse a file that names a process of somebody else: root could be made to signal it."""
    process = Path(f"/proc/{pid}")
    if process.exists() and process.stat().st_uid != os.fstat(descriptor).st_uid:
        raise PermissionError(f"it names process {pid}, which is not its owner's")
