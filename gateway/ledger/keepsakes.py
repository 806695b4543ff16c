"""What masked edits need again when their pictures come: files beside the ledger, or memory."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.domain.edit import Keepsake
from gateway.domain.errors import LedgerUnavailable

_T = TypeVar("_T")

_LENGTH = 8
"""Bytes in front of the original that tell its length; the mask goes to the file's end."""
_MOST_IN_MEMORY = 512 * 1024 * 1024


class MemoryKeepsakes:
    """
    Answers gateway.journey.ports.Keepsakes for as long as the process lives.

    Args:
        most: Bytes in all; beyond, the oldest go first, and most likely were delivered.
    """

    def __init__(self, most: int = _MOST_IN_MEMORY) -> None:
        self._most = most
        self._held = 0
        self._by_id: dict[str, Keepsake] = {}

    async def put(self, edit_id: str, keepsake: Keepsake) -> None:
        await self.drop(edit_id)
        self._by_id[edit_id] = keepsake
        self._held += _size(keepsake)
        while self._held > self._most and len(self._by_id) > 1:
            await self.drop(next(iter(self._by_id)))

    async def get(self, edit_id: str) -> Keepsake | None:
        return self._by_id.get(edit_id)

    async def drop(self, edit_id: str) -> None:
        if (gone := self._by_id.pop(edit_id, None)) is not None:
            self._held -= _size(gone)

    async def kept(self) -> list[str]:
        return list(self._by_id)


class FileKeepsakes:
    """
    Answers gateway.journey.ports.Keepsakes with one file an edit, written in threads.

    A file appears whole or not at all: it is renamed from ``EDIT_ID.*``, which a process that
    was killed may leave behind, and which goes with its edit.

    Args:
        folder: Made at the first write.
        durable: Whether a file survives a loss of power, or only the death of the process.
        on_failure: Told of what could not be written or read, for the operator.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool,
        on_failure: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._durable = durable
        self._on_failure = on_failure

    async def put(self, edit_id: str, keepsake: Keepsake) -> None:
        await self._in_thread(lambda: self._write(edit_id, keepsake))

    async def get(self, edit_id: str) -> Keepsake | None:
        return await self._in_thread(lambda: self._read(edit_id))

    async def drop(self, edit_id: str) -> None:
        await self._in_thread(lambda: self._remove(edit_id))

    async def kept(self) -> list[str]:
        return await self._in_thread(self._names)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            self._on_failure(error)
            raise LedgerUnavailable(
                "The gateway cannot keep what a masked edit needs at the moment. Send it again.",
                retry_after=5.0,
            ) from error

    # ------------------------------------------------------------ in a thread

    def _write(self, edit_id: str, keepsake: Keepsake) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f"{edit_id}.", dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(len(keepsake.original).to_bytes(_LENGTH, "big"))
                file.write(keepsake.original)
                file.write(keepsake.mask)
                if self._durable:
                    file.flush()
                    os.fsync(file.fileno())
            Path(name).replace(self._folder / edit_id)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        if self._durable:
            _sync_folder(self._folder)

    def _read(self, edit_id: str) -> Keepsake | None:
        try:
            content = (self._folder / edit_id).read_bytes()
        except FileNotFoundError:
            return None
        end = _LENGTH + int.from_bytes(content[:_LENGTH], "big")
        return Keepsake(original=content[_LENGTH:end], mask=content[end:])

    def _remove(self, edit_id: str) -> None:
        for file in self._folder.glob(f"{edit_id}*"):
            file.unlink(missing_ok=True)

    def _names(self) -> list[str]:
        return sorted({file.name.partition(".")[0] for file in self._folder.glob("*")})


def open_keepsakes(
    state_path: str, sync: str, *, on_failure: Callable[[Exception], None] = lambda _: None
) -> MemoryKeepsakes | FileKeepsakes:
    """Return what keeps beside the ledger of *state_path*, as durably as it; no I/O yet."""
    if state_path == "memory":
        return MemoryKeepsakes()
    ledger = Path(state_path).resolve()
    folder = ledger.with_name(ledger.name + ".keep")
    return FileKeepsakes(folder, durable=sync == "full", on_failure=on_failure)


def _size(keepsake: Keepsake) -> int:
    return len(keepsake.original) + len(keepsake.mask)


def _sync_folder(folder: Path) -> None:
    """Make the names in *folder* survive a loss of power, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
