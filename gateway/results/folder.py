"""A store in a folder: a file for each picture, in a folder for each owner."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

from gateway.domain.clock import Clock
from gateway.ledger.atomic_file import sync_folder, write_file
from gateway.results.names import ResultName, parse_name
from gateway.results.store import CHUNK_BYTES, OnFailure, OpenResult, Stored, unavailable

_T = TypeVar("_T")


class FolderStore:
    """
    Implements gateway.results.store.ResultStore; the work is done in threads.

    Files that are not named as results are are neither read nor deleted.

    Args:
        path: The folder; made at the first write, for this user only.
        durable: Whether a picture survives a loss of power, or only the death of the process.
        clock: Says when a picture was written.
        on_failure: Told of each error of the disk.
    """

    def __init__(self, path: Path, *, durable: bool, clock: Clock, on_failure: OnFailure) -> None:
        self._path = path
        self._durable = durable
        self._clock = clock
        self._on_failure = on_failure

    async def put(self, name: ResultName, picture: bytes) -> Stored:
        now = self._clock.epoch()
        return await self._in_thread("put", lambda: self._put(name, picture, now))

    async def find(self, name: ResultName) -> Stored | None:
        return await self._in_thread("find", lambda: self._find(name))

    @asynccontextmanager
    async def open(self, name: ResultName) -> AsyncIterator[OpenResult | None]:
        opened = await self._in_thread("open", lambda: self._open(name))
        if opened is None:
            yield None
            return
        stored, file = opened

        async def chunks(start: int, stop: int) -> AsyncIterator[bytes]:
            await self._in_thread("open", partial(file.seek, start))
            left = stop - start
            while left > 0:
                read = partial(file.read, min(left, CHUNK_BYTES))
                chunk = await self._in_thread("open", read)
                if not chunk:
                    raise unavailable()  # somebody has cut the file
                left -= len(chunk)
                yield chunk

        with file:
            yield OpenResult(stored, chunks)

    async def list(self, owner: str | None = None) -> AsyncIterator[Stored]:
        for stored in await self._in_thread("list", lambda: list(self._stored(owner))):
            yield stored

    async def delete(self, names: Iterable[ResultName]) -> None:
        await self._in_thread("delete", lambda: self._delete(names))

    async def delete_remains(self, before: float) -> None:
        await self._in_thread("delete", lambda: self._delete_remains(before))

    async def _in_thread(self, operation: str, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            self._on_failure(operation, error)
            raise unavailable() from error

    # ------------------------------------------------------------ in a thread

    def _file(self, name: ResultName) -> Path:
        return self._path / name.owner / str(name)

    def _put(self, name: ResultName, picture: bytes, now: float) -> Stored:
        file = self._file(name)
        if not file.parent.is_dir():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.parent.mkdir(mode=0o700, exist_ok=True)
            if self._durable:
                sync_folder(self._path)
        write_file(file, (picture,), durable=self._durable)
        os.utime(file, (now, now))  # what the disk's own clock says is not asked
        return _stored(name, file.stat())

    def _find(self, name: ResultName) -> Stored | None:
        try:
            return _whole(_stored(name, self._file(name).stat()))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _open(self, name: ResultName) -> tuple[Stored, IO[bytes]] | None:
        try:
            file = self._file(name).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return None
        stored = _whole(_stored(name, os.fstat(file.fileno())))
        if stored is None:
            file.close()
            return None
        return stored, file

    def _stored(self, owner: str | None) -> Iterator[Stored]:
        for file, name in self._files(owner):
            if (parsed := parse_name(name)) is not None and parsed.owner == file.parent.name:
                with suppress(FileNotFoundError):  # deleted meanwhile
                    yield _stored(parsed, file.stat())

    def _delete(self, names: Iterable[ResultName]) -> None:
        for name in names:
            with suppress(FileNotFoundError, NotADirectoryError):
                self._file(name).unlink()

    def _delete_remains(self, before: float) -> None:
        for file, name in self._files(None):
            whole, dot, _ = name.rpartition(".")
            if dot and parse_name(whole) is not None:
                with suppress(FileNotFoundError):
                    if file.stat().st_mtime < before:
                        file.unlink()

    def _files(self, owner: str | None) -> Iterator[tuple[Path, str]]:
        """Yield every file and its name; a folder that does not exist has none."""
        with suppress(FileNotFoundError):
            folders = [self._path / owner] if owner else list(self._path.iterdir())
            for folder in folders:
                with suppress(FileNotFoundError):
                    if owner or folder.is_dir():
                        yield from ((file, file.name) for file in folder.iterdir())


def _stored(name: ResultName, status: os.stat_result) -> Stored:
    etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
    return Stored(name, status.st_size, status.st_mtime, etag)


def _whole(stored: Stored) -> Stored | None:
    """Return ``None`` for an empty file: a loss of power may leave its name without content."""
    return stored if stored.size else None
