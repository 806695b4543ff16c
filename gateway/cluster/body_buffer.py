"""Request bodies that are kept until they are answered, since another owner may need them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from gateway.domain.errors import Overloaded

_PIECE = 262_144


class BodyBuffers:
    """
    The memory that all kept bodies share; what does not fit lies in files.

    Args:
        folder: Where the files are; ``None``: where the system has its temporary ones.
        memory_bytes: Of all bodies together.
    """

    def __init__(self, folder: Path | None, memory_bytes: int) -> None:
        self.folder = folder
        self.free = memory_bytes


class BodyBuffer:
    """
    One body, written once and read as often as it is needed. Use as a context manager.

    Its file has no name, so that it is gone with the process, and is readable by nobody else.
    """

    def __init__(self, buffers: BodyBuffers) -> None:
        self._buffers = buffers
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.length = 0
        self.in_memory = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._forget_memory()
        if self._file is not None:
            self._file.close()

    def write(self, piece: bytes) -> None:
        """
        Keep *piece*; a file takes it as fast as memory, until the disk is behind by far.

        Raises:
            Overloaded: the disk does not take it.
        """
        if self._file is None and len(piece) <= self._buffers.free:
            self._buffers.free -= len(piece)
            self.in_memory += len(piece)
            self._pieces.append(piece)
        else:
            try:
                self._to_file(piece)
            except OSError:
                raise Overloaded(
                    "The request cannot be kept until it is answered. Please try again later.",
                    retry_after=1.0,
                ) from None
        self.length += len(piece)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body from its beginning; it stays."""
        yield from tuple(self._pieces)
        if self._file is not None:
            number = self._file.fileno()
            at = 0
            while piece := os.pread(number, _PIECE, at):
                at += len(piece)
                yield piece

    def _to_file(self, piece: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by __exit__
                buffering=0, dir=self._buffers.folder
            )
            for earlier in self._pieces:
                _write(self._file, earlier)
            self._forget_memory()
        _write(self._file, piece)

    def _forget_memory(self) -> None:
        self._pieces = []
        self._buffers.free += self.in_memory
        self.in_memory = 0


def _write(file: IO[bytes], piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]
