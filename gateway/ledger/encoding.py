"""Pure: what is kept for single edits ⇄ bytes. Files and PostgreSQL hold the same bytes."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from gateway.domain.edit import Edit, MaskSource, OutputOptions, Picture, ResponseFormat, Size
from gateway.domain.errors import LedgerUnavailable
from gateway.domain.task import ResultImage

_LENGTH = 8
"""Bytes at the beginning that hold the length of the first part, big-endian."""
_VERSION = 1
"""Of the bytes of a promised edit."""


def encode_mask_source(mask_source: MaskSource) -> tuple[bytes, ...]:
    """Return the pieces to write: length of the original, original, mask."""
    original = mask_source.original
    return len(original).to_bytes(_LENGTH, "big"), original, mask_source.mask


def decode_mask_source(content: bytes) -> MaskSource:
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "big")
    return MaskSource(original=content[_LENGTH:end], mask=content[end:])


def encode_urls(made: tuple[ResultImage, ...]) -> bytes:
    return orjson.dumps(
        [
            {
                "url": picture.url,
                "size": None if picture.size is None else asdict(picture.size),
                "extended": picture.extended,
            }
            for picture in made
        ]
    )


def decode_urls(content: bytes) -> tuple[ResultImage, ...] | None:
    """Return the pictures; ``None`` for a file that lost its content with the machine's power."""
    try:
        rows = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return tuple(_decode_image(row) for row in rows)


def _decode_image(row: str | Mapping[str, Any]) -> ResultImage:
    """Return one picture; an earlier version kept its URL alone."""
    if isinstance(row, str):
        return ResultImage(row)
    return ResultImage(row["url"], _decode_size(row["size"]), extended=row["extended"])


def encode_promised_edit(edit: Edit, pictures: tuple[Picture, ...]) -> tuple[bytes, ...]:
    """Return the pieces to write: length of the JSON, all fields as JSON, the pictures' bytes."""
    fields = asdict(edit)
    fields["answer"] = fields.pop("output")  # its name in version 1
    head = orjson.dumps(
        {
            "version": _VERSION,
            "edit": fields,
            "pictures": [
                {
                    "content": len(picture.content),
                    "media_type": picture.media_type,
                    "url": picture.url,
                    "size": None if picture.size is None else asdict(picture.size),
                }
                for picture in pictures
            ],
        }
    )
    return len(head).to_bytes(_LENGTH, "big"), head, *(picture.content for picture in pictures)


def decode_promised_edit(content: bytes) -> tuple[Edit, tuple[Picture, ...]]:
    """
    Return the edit and its pictures.

    Raises:
        LedgerUnavailable: *content* is not whole, or of another version.
    """
    at = _LENGTH + int.from_bytes(content[:_LENGTH], "big")
    try:
        head = orjson.loads(content[_LENGTH:at])
        pictures = []
        for fields in head["pictures"]:
            end = at + fields["content"]
            size = _decode_size(fields["size"])
            pictures.append(Picture(**{**fields, "content": content[at:end], "size": size}))
            at = end
        edit = _decode_edit(head["edit"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable() from error
    if head["version"] != _VERSION or at != len(content):
        raise _unreadable()
    return edit, tuple(pictures)


def _unreadable() -> LedgerUnavailable:
    return LedgerUnavailable("What was kept of this edit cannot be read.", retry=False)


def _decode_edit(fields: Mapping[str, Any]) -> Edit:
    values = dict(fields)
    output = values.pop("answer")
    values["output"] = OutputOptions(
        **{
            **output,
            "response_format": ResponseFormat(output["response_format"]),
            "scale_to": _decode_size(output["scale_to"]),
        }
    )
    values["size"] = _decode_size(values["size"])
    values["options"] = tuple((name, text) for name, text in values.get("options", ()))
    for name in ("ignored", "adjusted"):
        values[name] = tuple(values[name])
    return Edit(**values)


def _decode_size(fields: Mapping[str, int] | None) -> Size | None:
    return None if fields is None else Size(**fields)
