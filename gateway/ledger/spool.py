"""Pictures of edits that wait in line: on the disk instead of in memory, until their turn."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from uuid import uuid4

from gateway.domain.edit import Picture
from gateway.domain.errors import LedgerUnavailable

_LEAST_BYTES = 262_144
"""Smaller edits stay in memory: a thousand of them are less than the files would cost."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """The pictures of one edit, on the disk."""

    path: Path
    outlines: tuple[Picture, ...]
    """The pictures without their bytes."""
    lengths: tuple[int, ...]

    async def pictures(self) -> tuple[Picture, ...]:
        """
        Return the pictures; the file stays for another part of the edit.

        Raises:
            LedgerUnavailable: the disk does not give them back.
        """
        try:
            whole = await asyncio.to_thread(self.path.read_bytes)
        except OSError as error:
            raise LedgerUnavailable("The waiting pictures cannot be read back.") from error
        if len(whole) != sum(self.lengths):
            raise LedgerUnavailable("The waiting pictures were not read back whole.")
        pictures = []
        at = 0
        for outline, length in zip(self.outlines, self.lengths, strict=True):
            pictures.append(replace(outline, content=whole[at : at + length]))
            at += length
        return tuple(pictures)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(slots=True)
class FileSpool:
    """
    A folder of its own, readable by us alone, gone with the process.

    Args:
        folder: ``None`` takes a temporary one. What another process left in it is removed:
            nobody can finish an edit that died in line, and nothing was paid for it.
        on_failure: Told of pictures that the disk did not take; they stay in memory.
    """

    folder: Path | None
    on_failure: Callable[[Exception], None] = lambda _: None
    _place: Path = field(init=False)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(shutil.rmtree, self._place, ignore_errors=True)

    async def put(self, pictures: tuple[Picture, ...]) -> Spooled | None:
        """Write *pictures* down; ``None``: they are small, or the disk does not take them."""
        lengths = tuple(len(picture.content) for picture in pictures)
        if sum(lengths) < _LEAST_BYTES:
            return None
        path = self._place / uuid4().hex
        try:
            await asyncio.to_thread(_write, path, pictures)
        except OSError as error:
            path.unlink(missing_ok=True)
            self.on_failure(error)
            return None
        outlines = tuple(replace(picture, content=b"") for picture in pictures)
        return Spooled(path, outlines, lengths)

    def _open(self) -> None:
        if self.folder is None:
            self._place = Path(tempfile.mkdtemp(prefix="wan-gateway-"))
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._place = self.folder


def open_spool(state_path: str, *, on_failure: Callable[[Exception], None]) -> FileSpool:
    """Return the spool beside a ledger's file, or in a temporary folder for ``memory``."""
    folder = None if state_path == "memory" else Path(f"{Path(state_path).resolve()}.spool")
    return FileSpool(folder, on_failure)


def _write(path: Path, pictures: tuple[Picture, ...]) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        for picture in pictures:
            file.write(picture.content)
