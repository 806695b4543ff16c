"""The ledger in PostgreSQL: writes are fenced by a lease, and idempotent (D104)."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import orjson

from gateway.domain.errors import (
    GatewayError,
    LedgerConflict,
    LedgerUnavailable,
    TaskFoundError,
)
from gateway.domain.intent import INTENT_SECONDS
from gateway.domain.record import EditRecord, EditState, TaskRecord
from gateway.ledger.errors import LedgerHeldError
from gateway.ledger.postgres_database import RETRY_SECONDS, Database, EngineAwayError
from gateway.ledger.postgres_lease import ALL, Lease
from gateway.ledger.postgres_writer import write_batch
from gateway.ledger.rows import (
    EDIT_COLUMNS,
    MAYBE_BILLED_KINDS,
    TASK_COLUMNS,
    edit_of_row,
    message_without_urls,
    row_of_edit,
    row_of_task,
)

_PURGE_SECONDS = 300.0
_PURGED_AT_ONCE = "500"
_RUNNING_SECONDS = 2.0
"""So long a paid edit is held up by a write while the engine is away; it stays in the queue."""
_KEPT_STATES = (EditState.OPEN.value, EditState.SUCCEEDED.value, EditState.FAILED.value)

_TASKS = (
    f"SELECT jsonb_agg(jsonb_build_array({', '.join(TASK_COLUMNS)}) ORDER BY part)::text "  # noqa: S608 - our own column names
    "FROM wan_gateway.tasks WHERE tasks.edit_id = edits.edit_id"
)
ROWS = f"SELECT {', '.join(EDIT_COLUMNS)}, ({_TASKS}) FROM wan_gateway.edits "  # noqa: S608 - the same
_IS_OLD = "(state <> 'open' AND born <= wan_gateway.now() - interval '24 hours')"
_HAS_TASK = "EXISTS (SELECT 1 FROM wan_gateway.tasks WHERE tasks.edit_id = edits.edit_id)"
_MAYBE_BILLED = "(NOT error_retry AND error_kind = ANY ($2::text[]))"
_OWN = "(account = ANY ($1::text[]) OR '*' = ANY ($1::text[]))"


class PostgresLedger:
    """
    Implements gateway.edits.ports.Ledger. Use as an async context manager.

    It writes only while it holds a lease on the accounts whose edits it owns; ages follow the
    engine's clock. Reads of single edits see the whole database.

    Args:
        database: Entered before.
        names: The accounts to own, which are the rows of the lease; ``*`` for every edit.
        home_of: For each tenant the account under which an edit is stored until it has a task.
    """

    def __init__(
        self,
        database: Database,
        names: Sequence[str] = (ALL,),
        *,
        home_of: Mapping[str, str],
    ) -> None:
        self._database = database
        self._clock = database.clock
        self._home_of = home_of
        self.lease = Lease(database.node, names, database.lease_seconds)
        self._taken = False
        self._settled = True
        self._left = float("inf")
        self._next_purge = 0.0
        self.submits_end_at = 0.0
        """Until then a submit of an earlier holder may still leave: it was not proven dead."""

    async def take(self) -> str:
        """
        Take the lease once, and forget the edits that waited in the memory of the last holder.

        Returns:
            Why that has to be tried again later; empty once it is taken.

        Raises:
            LedgerError: the database cannot be used.
            LedgerHeldError: the lease is on ``*``, and another node holds and renews one.
        """
        if self._taken:
            return ""
        try:
            node, left = await self._database.attempt(self._take)
        except EngineAwayError as away:
            return str(away)
        if node:
            self._refuse_if_renewed(node, left)
            return f"the lease of {node} is not over"
        if self.lease.expired:
            self.submits_end_at = self._clock.now() + INTENT_SECONDS
        self._taken = True
        self._database.renewal.add(self.lease)
        return ""

    async def _take(self, connection: Any) -> tuple[str, float]:
        sent = self._clock.now()
        node, left = await self.lease.take(connection)
        if not node:
            self.lease.renewed_at = sent
            await write_batch(connection, self.lease, [{"op": "take_over"}])
        return node, left

    def _refuse_if_renewed(self, node: str, left: float) -> None:
        """Tell a process that lives from one that has died: its lease only ever gets shorter."""
        if ALL in self.lease.names and left > min(self._left, 2 * self.lease.seconds):
            raise LedgerHeldError(
                "PostgreSQL",
                f"another gateway works on this database ({node})",
                "stop that one, or name another database",
                key="state.url",
            )
        self._left = left

    async def __aenter__(self) -> Self:
        """
        Wait for the lease.

        Raises:
            LedgerError: as for ``take``.
        """
        while await self.take():
            await self._clock.sleep(RETRY_SECONDS)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Write what is queued, for some seconds, and give the lease back."""
        self._database.renewal.remove(self.lease)
        with suppress(LedgerUnavailable):  # then the lease ends by itself
            await self._database.writer.write(
                self.lease,
                {"op": "give", "settled": self._settled},
                patience=self._database.close_seconds,
            )

    @property
    def lost(self) -> bool:
        """Whether another node has the lease."""
        return self.lease.lost

    @property
    def may_submit(self) -> bool:
        """Whether the lease lasts for a while yet, by this machine's clock."""
        return self.lease.may_submit(self._clock.now())

    def mark_unsettled(self) -> None:
        """
        A submit is still out: giving the lease back must not prove that it has ended.

        The holder's token stays, as if this node had died.
        """
        self._settled = False

    # ------------------------------------------------------------ writes

    async def _write(
        self,
        operation: str,
        *,
        withdraw: bool = False,
        patience: float | None = None,
        **values: Any,
    ) -> str:
        writer = self._database.writer
        result = await writer.write(
            self.lease, {"op": operation, **values}, patience=patience, withdraw=withdraw
        )
        now = self._clock.now()
        if now >= self._next_purge:
            self._next_purge = now + _PURGE_SECONDS
            writer.add(self.lease, {"op": "purge"}).add_done_callback(self._purged)
        return result

    def _purged(self, done: "asyncio.Future[str]") -> None:
        if done.exception() is None and done.result() == _PURGED_AT_ONCE:
            self._next_purge = 0.0  # there may be more

    async def intend(self, edit: EditRecord, task: TaskRecord) -> None:
        row = row_of_task(edit.edit_id, task)
        result = await self._write(
            "intend",
            withdraw=True,
            edit=_edit_fields(edit),
            task=dict(zip(TASK_COLUMNS, row, strict=True)),
        )
        if result == "ended":
            raise LedgerConflict("This edit has ended: nothing is submitted for it any more.")
        if result != "ok":
            _, task_id, upstream = result.split(" ", 2)
            raise TaskFoundError(task_id, upstream)

    async def promise(self, edit: EditRecord) -> None:
        home = self._home_of[edit.tenant]
        fields = {**_edit_fields(edit), "promised": True, "account": home}
        await self._write("promise", withdraw=True, edit=fields)

    async def unpromise(self, edit_id: str) -> None:
        await self._write("unpromise", patience=_RUNNING_SECONDS, edit={"edit_id": edit_id})

    async def accept(
        self, edit_id: str, part: int, upstream: str, task_id: str, *, attempt: str = ""
    ) -> bool:
        task = _task(edit_id, part, attempt, upstream=upstream, task_id=task_id)
        result = await self._write("accept", patience=_RUNNING_SECONDS, task=task)
        if result == "taken":
            raise LedgerConflict("This task is another edit's.")
        return result == "ok"

    async def void(self, edit_id: str, part: int, *, attempt: str = "") -> None:
        task = _task(edit_id, part, attempt)
        await self._write("void", patience=_RUNNING_SECONDS, task=task)

    async def end_task(self, edit_id: str, part: int, outcome: str, *, attempt: str = "") -> None:
        task = _task(edit_id, part, attempt, outcome=outcome)
        await self._write("end_task", patience=_RUNNING_SECONDS, task=task)

    async def end_edit(
        self, edit_id: str, state: EditState, error: GatewayError | None = None
    ) -> None:
        edit: dict[str, Any] = {"edit_id": edit_id, "state": state.value}
        if error is not None:
            edit["error_code"] = error.code
            edit["error_message"] = message_without_urls(error).replace("\0", "")
            edit["error_kind"] = type(error).__name__
            edit["error_retry"] = error.retry
        await self._write("drop" if state is EditState.DROPPED else "end_edit", edit=edit)

    async def deliver(self, edit_id: str, *, ago: float = 0.0) -> None:
        edit = {"edit_id": edit_id}
        await self._write("deliver", patience=_RUNNING_SECONDS, edit=edit, ago=ago)

    # ------------------------------------------------------------ reads

    async def find(self, edit_id: str) -> EditRecord | None:
        """Return an edit that is open, or began in the last 24 hours."""
        found = await self._read(f"WHERE edit_id = $1 AND NOT {_IS_OLD}", edit_id)
        return found[0] if found else None

    async def find_key(self, tenant: str, idempotency_key: str) -> EditRecord | None:
        found = await self._read(
            f"WHERE tenant = $1 AND idempotency_key = $2 AND NOT {_IS_OLD} "
            f"AND NOT (state = 'failed' AND (error_retry OR NOT {_HAS_TASK})) "
            "ORDER BY created DESC, seq DESC LIMIT 1",
            tenant,
            idempotency_key,
        )
        return found[0] if found else None

    async def find_delivered(
        self, tenant: str, digests: Collection[str], within: float
    ) -> EditRecord | None:
        found = await self._read(
            f"WHERE tenant = $1 AND digest = ANY ($3::text[]) AND idempotency_key IS NULL "
            f"AND NOT {_IS_OLD} AND (state = 'succeeded' OR state = 'failed' AND {_MAYBE_BILLED}) "
            "AND (NOT delivered OR delivered_at > wan_gateway.now() - make_interval(secs => $4)) "
            "ORDER BY delivered_at DESC NULLS LAST LIMIT 1",
            tenant,
            list(MAYBE_BILLED_KINDS),
            list(digests),
            within,
        )
        return found[0] if found else None

    async def owed(self) -> list[EditRecord]:
        """Return the own edits that are open, or not delivered and a success or uncertain."""
        return await self._read(
            f"WHERE {_OWN} AND (state = 'open' AND (promised OR {_HAS_TASK}) OR NOT delivered "
            f"AND (state = 'succeeded' OR state = 'failed' AND {_MAYBE_BILLED})) "
            f"AND NOT {_IS_OLD} ORDER BY created, seq",
            self.lease.names,
            list(MAYBE_BILLED_KINDS),
        )

    async def find_tasks(self, task_ids: Collection[str]) -> set[str]:
        rows = await self._database.reader.fetch(
            "SELECT task_id FROM wan_gateway.tasks WHERE task_id = ANY ($1::text[]) UNION "
            "SELECT task_id FROM wan_gateway.strays WHERE task_id = ANY ($1::text[])",
            list(task_ids),
        )
        return {row["task_id"] for row in rows}

    async def counts(self) -> dict[str, int]:
        """Return how many of the own edits are kept in each state."""
        rows = await self._database.reader.fetch(
            "SELECT state, count(*) AS number FROM wan_gateway.edits "  # noqa: S608 - our own
            f"WHERE {_OWN} AND NOT {_IS_OLD} GROUP BY state",
            self.lease.names,
        )
        return dict.fromkeys(_KEPT_STATES, 0) | {row["state"]: row["number"] for row in rows}

    async def _read(self, where: str, *values: Any) -> list[EditRecord]:
        rows = await self._database.reader.fetch(ROWS + where, *values)
        return [record_of(row) for row in rows]


def _edit_fields(edit: EditRecord) -> dict[str, Any]:
    return dict(zip(EDIT_COLUMNS, row_of_edit(edit), strict=True))


def _task(edit_id: str, part: int, attempt: str, **values: str) -> dict[str, Any]:
    return {"edit_id": edit_id, "part": part, "attempt": attempt, **values}


def record_of(row: Sequence[Any]) -> EditRecord:
    """Return the record of a row of ROWS."""
    *columns, tasks = row
    return edit_of_row(columns, orjson.loads(tasks or "[]"))
