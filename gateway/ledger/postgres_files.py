"""What is kept for single edits, in tables of PostgreSQL."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from gateway.domain.edit import Edit, MaskSource, Picture
from gateway.domain.errors import LedgerUnavailable
from gateway.domain.task import ResultImage
from gateway.ledger.encoding import (
    decode_mask_source,
    decode_promised_edit,
    decode_urls,
    encode_mask_source,
    encode_promised_edit,
    encode_urls,
)
from gateway.ledger.postgres_connection import Reader


class PostgresMaskSources:
    """Implements gateway.edits.ports.MaskSources with a table."""

    def __init__(self, reader: Reader) -> None:
        self._rows = _Rows(reader, "mask_sources")

    async def put(self, edit_id: str, mask_source: MaskSource) -> None:
        await self._rows.put(edit_id, b"".join(encode_mask_source(mask_source)))

    async def get(self, edit_id: str) -> MaskSource | None:
        content = await self._rows.get(edit_id)
        return None if content is None else decode_mask_source(content)

    async def drop(self, *edit_ids: str) -> None:
        await self._rows.drop(edit_ids)

    async def list_ids(self) -> list[str]:
        return await self._rows.list_ids()


class PostgresResultUrls:
    """Implements gateway.edits.ports.ResultUrls with a table, which the gateway's role reads."""

    def __init__(self, reader: Reader) -> None:
        self._rows = _Rows(reader, "result_urls")

    async def put(self, edit_id: str, part: int, made: tuple[ResultImage, ...]) -> None:
        await self._rows.put(edit_id, encode_urls(made), part)

    async def get(self, edit_id: str, part: int) -> tuple[ResultImage, ...] | None:
        content = await self._rows.get(edit_id, part)
        return None if content is None else decode_urls(content)

    async def drop(self, *edit_ids: str) -> None:
        await self._rows.drop(edit_ids)

    async def list_ids(self) -> list[str]:
        return await self._rows.list_ids()


@dataclass(frozen=True, slots=True)
class PostgresPictures:
    """Implements gateway.edits.ports.Spooled with the pictures of one promised edit."""

    rows: "_Rows"
    edit_id: str

    async def pictures(self) -> tuple[Picture, ...]:
        """
        Return the pictures; the row stays for the other parts of the edit.

        Raises:
            LedgerUnavailable: they cannot be read.
        """
        content = await self.rows.get(self.edit_id)
        if content is None:
            raise LedgerUnavailable("What was kept of this edit is gone.", retry=False)
        return decode_promised_edit(content)[1]

    def close(self) -> None:
        """Leave the row to the hourly clean-up, since a deletion would have to be awaited."""


class PostgresPromisedEdits:
    """Implements gateway.edits.ports.PromisedEdits with a table."""

    def __init__(self, reader: Reader) -> None:
        self._rows = _Rows(reader, "promised_edits")

    async def put(
        self, edit_id: str, edit: Edit, pictures: tuple[Picture, ...]
    ) -> PostgresPictures:
        await self._rows.put(edit_id, b"".join(encode_promised_edit(edit, pictures)))
        return PostgresPictures(self._rows, edit_id)

    async def get(self, edit_id: str) -> tuple[Edit, PostgresPictures] | None:
        content = await self._rows.get(edit_id)
        if content is None:
            return None
        return decode_promised_edit(content)[0], PostgresPictures(self._rows, edit_id)

    async def drop(self, *edit_ids: str) -> None:
        await self._rows.drop(edit_ids)

    async def list_ids(self) -> list[str]:
        return await self._rows.list_ids()


class _Rows:
    """Rows of bytes by edit, in one of three tables; every statement is idempotent."""

    def __init__(self, reader: Reader, table: str) -> None:
        self._reader = reader
        self._table = f"wan_gateway.{table}"

    async def put(self, edit_id: str, content: bytes, part: int | None = None) -> None:
        names, key, values = _key(edit_id, part)
        await self._reader.fetch(
            f"INSERT INTO {self._table} ({names}, content) VALUES ({key}, ${len(values) + 1}) "  # noqa: S608 - our own names
            f"ON CONFLICT ({names}) DO UPDATE SET content = excluded.content",
            *values,
            content,
        )

    async def get(self, edit_id: str, part: int | None = None) -> bytes | None:
        names, key, values = _key(edit_id, part)
        rows = await self._reader.fetch(
            f"SELECT content FROM {self._table} WHERE ({names}) = ({key})",  # noqa: S608 - the same
            *values,
        )
        return bytes(rows[0]["content"]) if rows else None

    async def drop(self, edit_ids: Collection[str]) -> None:
        await self._reader.fetch(
            f"DELETE FROM {self._table} WHERE edit_id = ANY ($1::text[])",  # noqa: S608 - the same
            list(edit_ids),
        )

    async def list_ids(self) -> list[str]:
        rows = await self._reader.fetch(
            f"SELECT DISTINCT edit_id FROM {self._table} ORDER BY edit_id"  # noqa: S608 - the same
        )
        return [row["edit_id"] for row in rows]


def _key(edit_id: str, part: int | None) -> tuple[str, str, tuple[Any, ...]]:
    return (
        ("edit_id", "$1", (edit_id,))
        if part is None
        else ("edit_id, part", "$1, $2", (edit_id, part))
    )
