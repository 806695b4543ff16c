"""What is kept for single edits beside the ledger: durably, or only in memory."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from gateway.domain.edit import Edit, MaskSource, Picture
from gateway.domain.errors import LedgerUnavailable
from gateway.domain.task import ResultImage
from gateway.ledger.atomic_file import write_file
from gateway.ledger.encoding import (
    decode_mask_source,
    decode_promised_edit,
    decode_urls,
    encode_mask_source,
    encode_promised_edit,
    encode_urls,
)

_T = TypeVar("_T")

MASK_SOURCES_UNAVAILABLE = (
    "The gateway cannot keep what a masked edit needs at the moment. Send it again."
)
RESULT_URLS_UNAVAILABLE = (
    "The gateway cannot read where this picture lies at the moment. Send it again."
)
PROMISES_UNAVAILABLE = (
    "The gateway cannot keep this edit at the moment, so it was not accepted. "
    "Nothing was submitted. Send it again."
)
_MAX_BYTES_IN_MEMORY = 512 * 1024 * 1024


class EditContents(Protocol):
    """Keeps bytes of edits, or of their parts; every method raises LedgerUnavailable."""

    async def write(self, edit_id: str, pieces: Iterable[bytes], part: int | None = None) -> None:
        """Write *pieces* in place of what is kept, whole or not at all."""
        ...

    async def read(self, edit_id: str, part: int | None = None) -> bytes | None: ...
    async def remove(self, edit_ids: Collection[str]) -> None:
        """Remove all that is kept of these edits."""
        ...

    async def list_ids(self) -> list[str]:
        """Return the id of every edit of which something is kept."""
        ...

    def remove_soon(self, edit_id: str) -> None:
        """Remove what is kept of an edit now, or leave it to the hourly clean-up."""
        ...


class EditFiles:
    """
    Implements EditContents in one folder, with a file ``EDIT_ID`` or ``EDIT_ID.PART`` for each.

    A file appears whole or not at all: it is written as ``NAME.*`` and renamed. A process that
    is killed in between leaves that one behind; it is removed with the other files of its edit.
    All methods raise LedgerUnavailable if the disk fails. The work is done in threads.

    Args:
        path: The folder; made at the first write, for the gateway's user only.
        durable: Whether a file survives a loss of power, or only the death of the process.
        message: What the client reads if the disk fails.
        on_failure: Called with each error of the disk, for the operator.
    """

    def __init__(
        self, path: Path, *, durable: bool, message: str, on_failure: Callable[[Exception], None]
    ) -> None:
        self._path = path
        self._durable = durable
        self._message = message
        self._on_failure = on_failure

    async def write(self, edit_id: str, pieces: Iterable[bytes], part: int | None = None) -> None:
        await self._in_thread(lambda: self._write(_name_of(edit_id, part), pieces))

    async def read(self, edit_id: str, part: int | None = None) -> bytes | None:
        return await self._in_thread(lambda: self._read(_name_of(edit_id, part)))

    async def remove(self, edit_ids: Collection[str]) -> None:
        await self._in_thread(lambda: self._remove(edit_ids))

    async def list_ids(self) -> list[str]:
        return await self._in_thread(self._list_ids)

    def remove_soon(self, edit_id: str) -> None:
        with suppress(OSError):
            (self._path / edit_id).unlink(missing_ok=True)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            self._on_failure(error)
            raise LedgerUnavailable(self._message, retry_after=5.0) from error

    # ------------------------------------------------------------ in a thread

    def _write(self, name: str, pieces: Iterable[bytes]) -> None:
        write_file(self._path / name, pieces, durable=self._durable)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def _remove(self, edit_ids: Collection[str]) -> None:
        for file in self._list_files():
            if _id_of(file) in edit_ids:
                file.unlink(missing_ok=True)

    def _list_ids(self) -> list[str]:
        return sorted({_id_of(file) for file in self._list_files()})

    def _list_files(self) -> list[Path]:
        # The files of others, such as those of NFS, begin with a dot.
        return list(self._path.glob("[!.]*"))


def _name_of(edit_id: str, part: int | None) -> str:
    return edit_id if part is None else f"{edit_id}.{part}"


def _id_of(file: Path) -> str:
    return file.name.partition(".")[0]


# ------------------------------------------------------------ originals and masks


class MemoryMaskSources:
    """
    Implements gateway.edits.ports.MaskSources for as long as the process lives.

    Args:
        max_bytes: Of all together; beyond it the oldest are dropped, most likely delivered ones.
    """

    def __init__(self, max_bytes: int = _MAX_BYTES_IN_MEMORY) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._by_id: dict[str, MaskSource] = {}

    async def put(self, edit_id: str, mask_source: MaskSource) -> None:
        await self.drop(edit_id)
        self._by_id[edit_id] = mask_source
        self._bytes += _size_of(mask_source)
        while self._bytes > self._max_bytes and len(self._by_id) > 1:
            await self.drop(next(iter(self._by_id)))

    async def get(self, edit_id: str) -> MaskSource | None:
        return self._by_id.get(edit_id)

    async def drop(self, *edit_ids: str) -> None:
        for edit_id in edit_ids:
            if (dropped := self._by_id.pop(edit_id, None)) is not None:
                self._bytes -= _size_of(dropped)

    async def list_ids(self) -> list[str]:
        return list(self._by_id)


class DurableMaskSources:
    """Implements gateway.edits.ports.MaskSources over EditContents."""

    def __init__(self, contents: EditContents) -> None:
        self._contents = contents

    async def put(self, edit_id: str, mask_source: MaskSource) -> None:
        await self._contents.write(edit_id, encode_mask_source(mask_source))

    async def get(self, edit_id: str) -> MaskSource | None:
        content = await self._contents.read(edit_id)
        return None if content is None else decode_mask_source(content)

    async def drop(self, *edit_ids: str) -> None:
        await self._contents.remove(frozenset(edit_ids))

    async def list_ids(self) -> list[str]:
        return await self._contents.list_ids()


def _size_of(mask_source: MaskSource) -> int:
    return len(mask_source.original) + len(mask_source.mask)


# ------------------------------------------------------------ result URLs of synchronous models


class MemoryResultUrls:
    """Implements gateway.edits.ports.ResultUrls for as long as the process lives."""

    def __init__(self) -> None:
        self._by_edit: dict[str, dict[int, tuple[ResultImage, ...]]] = {}

    async def put(self, edit_id: str, part: int, made: tuple[ResultImage, ...]) -> None:
        self._by_edit.setdefault(edit_id, {})[part] = made

    async def get(self, edit_id: str, part: int) -> tuple[ResultImage, ...] | None:
        return self._by_edit.get(edit_id, {}).get(part)

    async def drop(self, *edit_ids: str) -> None:
        for edit_id in edit_ids:
            self._by_edit.pop(edit_id, None)

    async def list_ids(self) -> list[str]:
        return list(self._by_edit)


class DurableResultUrls:
    """Implements gateway.edits.ports.ResultUrls over EditContents, which keep each part."""

    def __init__(self, contents: EditContents) -> None:
        self._contents = contents

    async def put(self, edit_id: str, part: int, made: tuple[ResultImage, ...]) -> None:
        await self._contents.write(edit_id, (encode_urls(made),), part)

    async def get(self, edit_id: str, part: int) -> tuple[ResultImage, ...] | None:
        content = await self._contents.read(edit_id, part)
        return None if content is None else decode_urls(content)

    async def drop(self, *edit_ids: str) -> None:
        await self._contents.remove(frozenset(edit_ids))

    async def list_ids(self) -> list[str]:
        return await self._contents.list_ids()


# ------------------------------------------------------------ edits that were promised by a 202


@dataclass(frozen=True, slots=True)
class PromisedPictures:
    """Implements gateway.edits.ports.Spooled with the pictures of one promised edit."""

    contents: EditContents
    edit_id: str

    async def pictures(self) -> tuple[Picture, ...]:
        """
        Return the pictures; they stay for the other parts of the edit.

        Raises:
            LedgerUnavailable: they cannot be read.
        """
        content = await self.contents.read(self.edit_id)
        if content is None:
            raise LedgerUnavailable("What was kept of this edit is gone.", retry=False)
        return decode_promised_edit(content)[1]

    def close(self) -> None:
        """Let them go: the hourly clean-up removes what is not removed now."""
        self.contents.remove_soon(self.edit_id)


class DurablePromisedEdits:
    """
    Implements gateway.edits.ports.PromisedEdits over EditContents.

    They hold all that decides the result, the prompt too, until every task of the edit exists.
    """

    def __init__(self, contents: EditContents) -> None:
        self._contents = contents

    async def put(
        self, edit_id: str, edit: Edit, pictures: tuple[Picture, ...]
    ) -> PromisedPictures:
        await self._contents.write(edit_id, encode_promised_edit(edit, pictures))
        return PromisedPictures(self._contents, edit_id)

    async def get(self, edit_id: str) -> tuple[Edit, PromisedPictures] | None:
        content = await self._contents.read(edit_id)
        if content is None:
            return None
        return decode_promised_edit(content)[0], PromisedPictures(self._contents, edit_id)

    async def drop(self, *edit_ids: str) -> None:
        await self._contents.remove(frozenset(edit_ids))

    async def list_ids(self) -> list[str]:
        return await self._contents.list_ids()


class NoPromisedEdits:
    """Implements gateway.edits.ports.PromisedEdits where nothing outlives the process."""

    async def put(self, *_: object) -> PromisedPictures:
        raise LedgerUnavailable(
            "This gateway keeps nothing on disk, so an edit cannot be accepted with 202. Send it "
            "without 'Prefer: respond-async' and wait for the answer.",
            retry=False,
        )

    async def get(self, *_: object) -> tuple[Edit, PromisedPictures] | None:
        return None

    async def drop(self, *edit_ids: str) -> None: ...

    async def list_ids(self) -> list[str]:
        return []
