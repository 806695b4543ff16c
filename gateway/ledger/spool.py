"""Pictures of queued edits, on the disk instead of in memory until their turn comes."""

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

_MIN_BYTES = 262_144
"""Smaller edits stay in memory, where a thousand of them cost less than their files."""


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """Implements gateway.edits.ports.Spooled: the pictures of one edit, in a file."""

    path: Path
    outlines: tuple[Picture, ...]
    """The pictures without their bytes."""
    lengths: tuple[int, ...]

    async def pictures(self) -> tuple[Picture, ...]:
        """
        Return the pictures; the file stays for the other parts of the edit.

        Raises:
            LedgerUnavailable: the file cannot be read, or is too short.
        """
        try:
            content = await asyncio.to_thread(self.path.read_bytes)
        except OSError as error:
            raise LedgerUnavailable("The waiting pictures cannot be read back.") from error
        if len(content) != sum(self.lengths):
            raise LedgerUnavailable("The waiting pictures were not read back whole.")
        pictures = []
        at = 0
        for outline, length in zip(self.outlines, self.lengths, strict=True):
            pictures.append(replace(outline, content=content[at : at + length]))
            at += length
        return tuple(pictures)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(slots=True)
class FileSpool:
    """
    Implements gateway.edits.ports.Spool with a private folder, removed at exit.

    Args:
        folder: The folder; a temporary one if ``None``. Files that an earlier process left are
            removed: a queued edit ends with its process, and nothing was paid for it.
        on_failure: Called if the disk refuses pictures, which then stay in memory.
    """

    folder: Path | None
    on_failure: Callable[[Exception], None] = lambda _: None
    _path: Path = field(init=False)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(shutil.rmtree, self._path, ignore_errors=True)

    async def put(self, pictures: tuple[Picture, ...]) -> SpooledFile | None:
        """Write *pictures* to a file; return ``None`` if they are small or the disk fails."""
        lengths = tuple(len(picture.content) for picture in pictures)
        if sum(lengths) < _MIN_BYTES:
            return None
        path = self._path / uuid4().hex
        try:
            await asyncio.to_thread(_write, path, pictures)
        except OSError as error:
            path.unlink(missing_ok=True)
            self.on_failure(error)
            return None
        outlines = tuple(replace(picture, content=b"") for picture in pictures)
        return SpooledFile(path, outlines, lengths)

    def _open(self) -> None:
        if self.folder is None:
            self._path = Path(tempfile.mkdtemp(prefix="wan-gateway-"))
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = self.folder


def _write(path: Path, pictures: tuple[Picture, ...]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for picture in pictures:
            file.write(picture.content)
