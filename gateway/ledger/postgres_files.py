"""What is kept for single edits, in tables of PostgreSQL."""

from collections.abc import Collection, Iterable
from typing import Any

from gateway.ledger.postgres_connection import Reader


class EditRows:
    """
    Implements gateway.ledger.edit_files.EditContents in a table; every statement is idempotent.

    Args:
        reader: Runs the statements.
        table: ``mask_sources``, ``promised_edits``, or ``result_urls``, whose rows have parts.
    """

    def __init__(self, reader: Reader, table: str) -> None:
        self._reader = reader
        self._table = f"wan_gateway.{table}"

    async def write(self, edit_id: str, pieces: Iterable[bytes], part: int | None = None) -> None:
        names, key, values = _key(edit_id, part)
        await self._reader.fetch(
            f"INSERT INTO {self._table} ({names}, content) VALUES ({key}, ${len(values) + 1}) "  # noqa: S608 - our own names
            f"ON CONFLICT ({names}) "
            "DO UPDATE SET content = excluded.content, stored = excluded.stored",
            *values,
            b"".join(pieces),
        )

    async def read(self, edit_id: str, part: int | None = None) -> bytes | None:
        names, key, values = _key(edit_id, part)
        rows = await self._reader.fetch(
            f"SELECT content FROM {self._table} WHERE ({names}) = ({key})",  # noqa: S608 - the same
            *values,
        )
        return bytes(rows[0]["content"]) if rows else None

    async def remove(self, edit_ids: Collection[str]) -> None:
        await self._reader.fetch(
            f"DELETE FROM {self._table} WHERE edit_id = ANY ($1::text[])",  # noqa: S608 - the same
            list(edit_ids),
        )

    async def list_ids(self) -> list[str]:
        rows = await self._reader.fetch(
            f"SELECT DISTINCT edit_id FROM {self._table} "  # noqa: S608 - the same
            "WHERE stored < clock_timestamp() - interval '1 hour' ORDER BY edit_id"
        )
        return [row["edit_id"] for row in rows]

    def remove_soon(self, edit_id: str) -> None:
        """Leave the row to the hourly clean-up, since a deletion would have to be awaited."""


def _key(edit_id: str, part: int | None) -> tuple[str, str, tuple[Any, ...]]:
    return (
        ("edit_id", "$1", (edit_id,))
        if part is None
        else ("edit_id, part", "$1, $2", (edit_id, part))
    )
