"""What masked edits need again when their pictures come: files beside the ledger, or memory."""

from collections.abc import Callable
from pathlib import Path

from gateway.domain.edit import MaskSource
from gateway.ledger.folder import EditFiles

_LENGTH = 8
"""Bytes in front of the original that tell its length; the mask goes to the file's end."""
_MOST_IN_MEMORY = 512 * 1024 * 1024


class MemoryMaskSources:
    """
    Answers gateway.edits.ports.MaskSources for as long as the process lives.

    Args:
        most: Bytes in all; beyond, the oldest go first, and most likely were delivered.
    """

    def __init__(self, most: int = _MOST_IN_MEMORY) -> None:
        self._most = most
        self._held = 0
        self._by_id: dict[str, MaskSource] = {}

    async def put(self, edit_id: str, mask_source: MaskSource) -> None:
        await self.drop(edit_id)
        self._by_id[edit_id] = mask_source
        self._held += _size(mask_source)
        while self._held > self._most and len(self._by_id) > 1:
            await self.drop(next(iter(self._by_id)))

    async def get(self, edit_id: str) -> MaskSource | None:
        return self._by_id.get(edit_id)

    async def drop(self, *edit_ids: str) -> None:
        for edit_id in edit_ids:
            if (gone := self._by_id.pop(edit_id, None)) is not None:
                self._held -= _size(gone)

    async def kept(self) -> list[str]:
        return list(self._by_id)


class FileMaskSources:
    """Answers gateway.edits.ports.MaskSources with one file an edit in *folder*."""

    def __init__(self, folder: EditFiles) -> None:
        self._folder = folder

    async def put(self, edit_id: str, mask_source: MaskSource) -> None:
        length = len(mask_source.original).to_bytes(_LENGTH, "big")
        await self._folder.write(edit_id, (length, mask_source.original, mask_source.mask))

    async def get(self, edit_id: str) -> MaskSource | None:
        content = await self._folder.read(edit_id)
        if content is None:
            return None
        end = _LENGTH + int.from_bytes(content[:_LENGTH], "big")
        return MaskSource(original=content[_LENGTH:end], mask=content[end:])

    async def drop(self, *edit_ids: str) -> None:
        await self._folder.remove(frozenset(edit_ids))

    async def kept(self) -> list[str]:
        return await self._folder.edits()


def open_mask_sources(
    state_path: str, sync: str, *, on_failure: Callable[[Exception], None] = lambda _: None
) -> MemoryMaskSources | FileMaskSources:
    """Return what keeps beside the ledger of *state_path*, as durably as it; no I/O yet."""
    if state_path == "memory":
        return MemoryMaskSources()
    ledger = Path(state_path).resolve()
    folder = EditFiles(
        ledger.with_name(ledger.name + ".keep"),
        durable=sync == "full",
        lack="The gateway cannot keep what a masked edit needs at the moment. Send it again.",
        on_failure=on_failure,
    )
    return FileMaskSources(folder)


def _size(mask_source: MaskSource) -> int:
    return len(mask_source.original) + len(mask_source.mask)
