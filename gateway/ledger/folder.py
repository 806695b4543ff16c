"""A private folder beside the ledger: files that appear whole or not at all, written in threads."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

from gateway.domain.errors import LedgerUnavailable

_T = TypeVar("_T")


class EditFiles:
    """
    Files of edits, each named ``EDIT_ID`` or ``EDIT_ID.MORE``.

    A file is renamed from ``NAME.*``, which a process that was killed may leave behind, and
    which goes with its edit. Each call raises LedgerUnavailable when it cannot be done.

    Args:
        path: Made at the first write.
        durable: Whether a file survives a loss of power, or only the death of the process.
        lack: What the client is told when it cannot be done.
        on_failure: Told of what could not be written or read, for the operator.
    """

    def __init__(
        self, path: Path, *, durable: bool, lack: str, on_failure: Callable[[Exception], None]
    ) -> None:
        self._path = path
        self._durable = durable
        self._lack = lack
        self._on_failure = on_failure

    async def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Make the file of *pieces*, or make it again."""
        await self._in_thread(lambda: self._write(name, pieces))

    async def read(self, name: str) -> bytes | None:
        """Return what is in the file, or ``None`` if there is none."""
        return await self._in_thread(lambda: self._read(name))

    async def remove(self, edit_ids: Collection[str]) -> None:
        """Remove all files of these edits, in one walk through the folder."""
        await self._in_thread(lambda: self._remove(edit_ids))

    def unlink(self, name: str) -> None:
        """Remove one file at once, if it is there; raises OSError where it cannot be done."""
        (self._path / name).unlink(missing_ok=True)

    async def edits(self) -> list[str]:
        """Return the id of every edit that has a file."""
        return await self._in_thread(self._edits)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            self._on_failure(error)
            raise LedgerUnavailable(self._lack, retry_after=5.0) from error

    # ------------------------------------------------------------ in a thread

    def _write(self, name: str, pieces: Iterable[bytes]) -> None:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=f"{name}.", dir=self._path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(pieces)
                if self._durable:
                    file.flush()
                    os.fsync(file.fileno())
            Path(partial).replace(self._path / name)
        except OSError:
            Path(partial).unlink(missing_ok=True)
            raise
        if self._durable:
            self._sync()

    def _sync(self) -> None:
        """Make the names survive a loss of power, too."""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def _remove(self, edit_ids: Collection[str]) -> None:
        for file in self._files():
            if _edit_of(file) in edit_ids:
                file.unlink(missing_ok=True)

    def _edits(self) -> list[str]:
        return sorted({_edit_of(file) for file in self._files()})

    def _files(self) -> list[Path]:
        # Others' files, such as NFS's own, begin with a dot.
        return list(self._path.glob("[!.]*"))


def _edit_of(file: Path) -> str:
    return file.name.partition(".")[0]
