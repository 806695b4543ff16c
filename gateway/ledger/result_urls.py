"""Where the pictures lie that no task tells again: files beside the ledger, or memory."""

from collections.abc import Callable
from pathlib import Path

import orjson

from gateway.domain.task import ResultImage
from gateway.ledger.folder import EditFiles


class MemoryResultUrls:
    """Answers gateway.edits.ports.ResultUrls for as long as the process lives."""

    def __init__(self) -> None:
        self._by_edit: dict[str, dict[int, tuple[ResultImage, ...]]] = {}

    async def put(self, edit_id: str, part: int, made: tuple[ResultImage, ...]) -> None:
        self._by_edit.setdefault(edit_id, {})[part] = made

    async def get(self, edit_id: str, part: int) -> tuple[ResultImage, ...] | None:
        return self._by_edit.get(edit_id, {}).get(part)

    async def drop(self, *edit_ids: str) -> None:
        for edit_id in edit_ids:
            self._by_edit.pop(edit_id, None)

    async def kept(self) -> list[str]:
        return list(self._by_edit)


class FileResultUrls:
    """Answers gateway.edits.ports.ResultUrls with a file ``EDIT_ID.PART`` in *folder*."""

    def __init__(self, folder: EditFiles) -> None:
        self._folder = folder

    async def put(self, edit_id: str, part: int, made: tuple[ResultImage, ...]) -> None:
        urls = orjson.dumps([picture.url for picture in made])
        await self._folder.write(f"{edit_id}.{part}", (urls,))

    async def get(self, edit_id: str, part: int) -> tuple[ResultImage, ...] | None:
        content = await self._folder.read(f"{edit_id}.{part}")
        if content is None:
            return None
        try:
            urls = orjson.loads(content)
        except orjson.JSONDecodeError:
            return None  # one that lost its content with the machine's power is as good as none
        return tuple(ResultImage(url) for url in urls)

    async def drop(self, *edit_ids: str) -> None:
        await self._folder.remove(frozenset(edit_ids))

    async def kept(self) -> list[str]:
        return await self._folder.edits()


def open_result_urls(
    state_path: str, sync: str, *, on_failure: Callable[[Exception], None] = lambda _: None
) -> MemoryResultUrls | FileResultUrls:
    """Return what keeps beside the ledger of *state_path*, as durably as it; no I/O yet."""
    if state_path == "memory":
        return MemoryResultUrls()
    ledger = Path(state_path).resolve()
    folder = EditFiles(
        ledger.with_name(ledger.name + ".receipts"),
        durable=sync == "full",
        lack="The gateway cannot read where this picture lies at the moment. Send it again.",
        on_failure=on_failure,
    )
    return FileResultUrls(folder)
