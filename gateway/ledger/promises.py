"""
What was promised by a 202 and is not submitted yet: one private file for each such edit.

A file holds all that decides the result: the prompt and the other fields as JSON, then the
pictures' bytes. It is gone as soon as every task of its edit exists.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from gateway.domain.edit import Edit, OutputOptions, Picture, ResponseFormat, Size
from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.folder import EditFiles

_LENGTH = 8
"""Bytes in front of the JSON that tell its length."""
_VERSION = 1


@dataclass(frozen=True, slots=True)
class PromisedPictures:
    """Answers gateway.edits.ports.Spooled with the pictures of one promised edit."""

    folder: EditFiles
    edit_id: str

    async def pictures(self) -> tuple[Picture, ...]:
        """
        Return the pictures; the file stays for another part of the edit.

        Raises:
            LedgerUnavailable: the disk does not give them back.
        """
        content = await self.folder.read(self.edit_id)
        if content is None:
            raise LedgerUnavailable("What was kept of this edit is gone.", retry=False)
        return _read(content)[1]

    def close(self) -> None:
        """Remove the file; one that cannot be removed now is removed by the hourly clean-up."""
        with suppress(OSError):
            self.folder.unlink(self.edit_id)


class FilePromisedEdits:
    """Answers gateway.edits.ports.Promises with one file an edit in *folder*."""

    def __init__(self, folder: EditFiles) -> None:
        self._folder = folder

    async def put(
        self, edit_id: str, edit: Edit, pictures: tuple[Picture, ...]
    ) -> PromisedPictures:
        head = orjson.dumps(
            {
                "version": _VERSION,
                "edit": asdict(edit),
                "pictures": [
                    {**asdict(replace(picture, content=b"")), "content": len(picture.content)}
                    for picture in pictures
                ],
            }
        )
        contents = (picture.content for picture in pictures)
        await self._folder.write(edit_id, (len(head).to_bytes(_LENGTH, "big"), head, *contents))
        return PromisedPictures(self._folder, edit_id)

    async def get(self, edit_id: str) -> tuple[Edit, PromisedPictures] | None:
        content = await self._folder.read(edit_id)
        if content is None:
            return None
        return _read(content)[0], PromisedPictures(self._folder, edit_id)

    async def drop(self, *edit_ids: str) -> None:
        await self._folder.remove(frozenset(edit_ids))

    async def kept(self) -> list[str]:
        return await self._folder.edits()


class NoPromisedEdits:
    """Answers gateway.edits.ports.Promises where nothing outlives the process: it refuses."""

    async def put(self, *_: object) -> PromisedPictures:
        raise LedgerUnavailable(
            "This gateway keeps nothing on disk, so an edit cannot be accepted with 202. Send it "
            "without 'Prefer: respond-async' and wait for the answer.",
            retry=False,
        )

    async def get(self, *_: object) -> tuple[Edit, PromisedPictures] | None:
        return None

    async def drop(self, *edit_ids: str) -> None: ...

    async def kept(self) -> list[str]:
        return []


def open_promised_edits(
    state_path: str, sync: str, *, on_failure: Callable[[Exception], None] = lambda _: None
) -> NoPromisedEdits | FilePromisedEdits:
    """Return what keeps beside the ledger of *state_path*, as durably as it; no I/O yet."""
    if state_path == "memory":
        return NoPromisedEdits()
    ledger = Path(state_path).resolve()
    folder = EditFiles(
        ledger.with_name(ledger.name + ".promised"),
        durable=sync == "full",
        lack="The gateway cannot keep this edit at the moment, so it was not accepted. "
        "Nothing was submitted. Send it again.",
        on_failure=on_failure,
    )
    return FilePromisedEdits(folder)


def _read(content: bytes) -> tuple[Edit, tuple[Picture, ...]]:
    """
    Return what the file of one edit holds.

    Raises:
        LedgerUnavailable: it is not whole, or of another version.
    """
    at = _LENGTH + int.from_bytes(content[:_LENGTH], "big")
    try:
        head = orjson.loads(content[_LENGTH:at])
        pictures = []
        for told in head["pictures"]:
            end = at + told["content"]
            picture = content[at:end]
            at = end
            pictures.append(Picture(**{**told, "content": picture, "size": _size(told["size"])}))
        edit = _edit(head["edit"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable() from error
    if head["version"] != _VERSION or at != len(content):
        raise _unreadable()
    return edit, tuple(pictures)


def _unreadable() -> LedgerUnavailable:
    return LedgerUnavailable("What was kept of this edit cannot be read.", retry=False)


def _edit(told: Mapping[str, Any]) -> Edit:
    answer = told["answer"]
    form = OutputOptions(
        **{
            **answer,
            "response_format": ResponseFormat(answer["response_format"]),
            "scale_to": _size(answer["scale_to"]),
        }
    )
    lists = {name: tuple(told[name]) for name in ("ignored", "adjusted")}
    return Edit(**{**told, "answer": form, "size": _size(told["size"]), **lists})


def _size(told: Mapping[str, int] | None) -> Size | None:
    return None if told is None else Size(**told)
