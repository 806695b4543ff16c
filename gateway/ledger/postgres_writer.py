"""Writes into PostgreSQL: those that queue up meanwhile share one commit, and none is lost."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import asyncpg
import orjson

from gateway.domain.clock import Clock
from gateway.ledger.postgres_connection import (
    BROKEN,
    RECONNECT_SECONDS,
    Outage,
    Session,
    unavailable,
)
from gateway.ledger.postgres_lease import Lease

_MAX_RECONNECT_SECONDS = 2.0
_MAX_BATCH = 500
_MAX_QUEUE = 50_000

# Each group is fenced by its own lease, and all share the commit.
_WRITE = """
SELECT wan_gateway.write(
    item ->> 'holder', ARRAY(SELECT jsonb_array_elements_text(item -> 'names')), item -> 'batch'
)::text
FROM jsonb_array_elements($1::text::jsonb) WITH ORDINALITY AS list (item, number) ORDER BY number
"""


@dataclass(slots=True, eq=False)
class _Call:
    lease: Lease
    operation: bytes
    future: "asyncio.Future[str]"


class PostgresWriter:
    """
    Sends operations in the order of the calls, fenced by the lease of each.

    After a broken connection it is unknown whether the batch was committed, so it is sent again:
    every operation is idempotent. An operation stays in the queue until it is written, even if
    its caller has given up or was cancelled; the same operation is in the queue only once.

    Args:
        session: The connection of the writes.
        outage: How long a call may wait.
        clock: For the pauses between two tries.
        on_failure: Called with each new failure, for the operator.
    """

    def __init__(
        self,
        session: Session,
        outage: Outage,
        clock: Clock,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.session = session
        self._outage = outage
        self._clock = clock
        self._on_failure = on_failure
        self._queue: dict[tuple[str, bytes], _Call] = {}
        self._news = asyncio.Event()

    async def write(
        self,
        lease: Lease,
        operation: dict[str, Any],
        *,
        patience: float | None = None,
        withdraw: bool = False,
    ) -> str:
        """
        Return the result of *operation* once it is committed.

        Args:
            lease: Fences it.
            operation: As the function wan_gateway.write takes it.
            patience: For how many seconds to wait at most; default: as the outage says.
            withdraw: Whether it is taken out of the queue if the caller gives up, or is cancelled,
                before it was sent for the first time.

        Raises:
            LedgerUnavailable: not written in time, or another node has the lease.
        """
        future = self.add(lease, operation)
        seconds = self._outage.patience
        try:
            await asyncio.wait(
                [future], timeout=seconds if patience is None else min(seconds, patience)
            )
        finally:
            if withdraw and not future.done():
                self._queue.pop((lease.holder, orjson.dumps(operation)), None)
        if future.done():
            return future.result()
        raise unavailable(None)

    def add(self, lease: Lease, operation: dict[str, Any]) -> "asyncio.Future[str]":
        """
        Put *operation* into the queue and return its future result.

        Raises:
            LedgerUnavailable: the queue is full.
        """
        content = orjson.dumps(operation)
        key = lease.holder, content
        call = self._queue.get(key)
        if call is None:
            if len(self._queue) >= _MAX_QUEUE:
                raise unavailable(None)
            call = _Call(lease, content, asyncio.get_running_loop().create_future())
            self._queue[key] = call
            self._news.set()
        return call.future

    async def run(self) -> None:
        """Write until the task is cancelled; what is in the queue then fails."""
        batch: list[_Call] = []
        try:
            while True:
                while not self._queue:
                    self._news.clear()
                    await self._news.wait()
                keys = list(islice(self._queue, _MAX_BATCH))
                batch = [self._queue.pop(key) for key in keys]
                await self._write_batch(batch)
        finally:
            _fail([*batch, *self._queue.values()])
            self._queue.clear()

    async def _write_batch(self, batch: list[_Call]) -> None:
        """Write *batch* at once; if the server refuses it, each operation by itself."""
        try:
            await self._write_until_known(batch)
        except asyncpg.PostgresError as error:
            if len(batch) > 1:
                for call in batch:
                    await self._write_batch([call])
                return
            self._on_failure(error)
            _fail(batch, error)

    async def _write_until_known(self, batch: list[_Call]) -> None:
        pause = RECONNECT_SECONDS
        while batch := await self._without_lost(batch):
            try:
                results = await self.session.run(partial(_write_groups, _grouped(batch)))
            except BROKEN as error:
                if pause == RECONNECT_SECONDS:
                    self._on_failure(error)
                await self._clock.sleep(pause)
                pause = min(2 * pause, _MAX_RECONNECT_SECONDS)
                continue
            batch = _resolve(_grouped(batch), results)

    async def _without_lost(self, batch: list[_Call]) -> list[_Call]:
        """Refuse the calls whose lease another node has, and return the others."""
        for call in batch:
            if call.lease.lost:
                await self._leave_stray(call)
                _fail([call])
        return [call for call in batch if not call.lease.lost]

    async def _leave_stray(self, call: _Call) -> None:
        """Store, without the lease, what the next owner could not know (D105)."""
        operation = orjson.loads(call.operation)
        if operation["op"] in _UNFENCED:
            try:
                await self.session.run(partial(_UNFENCED[operation["op"]], operation))
            except (*BROKEN, asyncpg.PostgresError) as error:
                self._on_failure(error)


def _grouped(batch: list[_Call]) -> list[list[_Call]]:
    """Return the calls of each lease, in their order."""
    groups: dict[str, list[_Call]] = {}
    for call in batch:
        groups.setdefault(call.lease.holder, []).append(call)
    return list(groups.values())


async def _write_groups(groups: list[list[_Call]], connection: Any) -> list[Any]:
    """Return for each group ``lost``, or the result of each of its operations."""
    items = [
        _item(group[0].lease, [orjson.Fragment(call.operation) for call in group])
        for group in groups
    ]
    rows = await connection.fetch(_WRITE, orjson.dumps(items).decode())
    return [orjson.loads(row[0]) for row in rows]


async def write_batch(connection: Any, lease: Lease, batch: list[Any]) -> None:
    """Write *batch* in the transaction of *connection* that took *lease*."""
    await connection.fetch(_WRITE, orjson.dumps([_item(lease, batch)]).decode())


def _item(lease: Lease, batch: list[Any]) -> dict[str, Any]:
    return {"holder": lease.holder, "names": lease.names, "batch": batch}


def _resolve(groups: list[list[_Call]], results: list[Any]) -> list[_Call]:
    """Give each call its result; return the calls of the groups whose lease is lost."""
    lost = []
    for group, result in zip(groups, results, strict=True):
        if result == "lost":
            group[0].lease.lost = True
            lost += group
        else:
            for call, text in zip(group, result, strict=True):
                call.future.set_result(text)
    return lost


def _fail(batch: list[_Call], cause: Exception | None = None) -> None:
    for call in batch:
        if not call.future.done():
            call.future.set_exception(unavailable(cause))
            call.future.exception()  # its caller may have given up


async def _write_stray(operation: dict[str, Any], connection: Any) -> None:
    text = orjson.dumps(operation["task"]).decode()
    await connection.execute("SELECT wan_gateway.stray($1::text::jsonb)", text)


async def _write_delivery(operation: dict[str, Any], connection: Any) -> None:
    await connection.execute(
        "UPDATE wan_gateway.edits SET delivered = true, "
        "delivered_at = wan_gateway.now() - make_interval(secs => $2) WHERE edit_id = $1",
        operation["edit"]["edit_id"],
        operation["ago"],
    )


# A task that was made, and an answer that was sent: both are true, whoever owns the edit.
_UNFENCED = {"accept": _write_stray, "deliver": _write_delivery}
