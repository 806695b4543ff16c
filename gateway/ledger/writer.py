"""One thread that owns the database: what queues up while it works is committed together."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.schema import transaction
from gateway.ledger.trouble import primary_code

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""May be run more than once, so twice must be as good as once."""


@dataclass(slots=True, eq=False)
class _Call:
    work: Work[Any]
    writes: bool
    future: "asyncio.Future[Any]"
    answer: Any = None
    error: Exception | None = None


class Writer:
    """
    Runs work on a connection in a thread of its own, in the order in which it was given.

    Args:
        open_: Opens the connection; entered and left in the thread, as SQLite wants it.
        tidy: Done after a batch that wrote, when its callers have their answers.
        on_failure: Told on the event loop of each batch that could not be written.
    """

    def __init__(
        self,
        open_: Callable[[], AbstractContextManager[sqlite3.Connection]],
        *,
        tidy: Work[None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.commits = 0
        """Transactions that were committed, those of reads included."""
        self._open = open_
        self._tidy = tidy
        self._on_failure = on_failure
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._taking = False

    async def start(self) -> None:
        """
        Open the connection.

        Raises:
            Exception: what *open_* raised; the thread has ended then.
        """
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        ready: asyncio.Future[None] = self._loop.create_future()
        # A daemon: a process whose loop has died must not wait for it.
        thread = threading.Thread(target=self._run, args=(ready,), name="ledger", daemon=True)
        thread.start()
        self._taking = True
        try:
            await ready
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take nothing more, write what is queued, close the connection."""
        if self._taking:
            self._taking = False
            self._queue.put(None)
        await self._ended.wait()

    async def run(self, work: Work[T], *, writes: bool) -> T:
        """
        Return what *work* returns, once its transaction is committed.

        Once begun it is carried out even if the caller is cancelled.

        Raises:
            LedgerUnavailable: SQLite could not do it; nothing of it was kept.
        """
        if not self._taking:
            raise _unavailable(None)
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Call(work, writes, future))
        return await future

    def _end(self) -> None:
        """Leave nobody waiting for a thread that is no more."""
        self._taking = False
        left = []
        while not self._queue.empty():
            left.append(self._queue.get())
        for call in left:
            if call is not None and not call.future.done():
                call.future.set_exception(_unavailable(None))
        self._ended.set()

    # ------------------------------------------------------------ in the thread

    def _run(self, ready: "asyncio.Future[None]") -> None:
        opening = _Call(lambda _: None, writes=False, future=ready)
        try:
            with self._open() as connection:
                self._tell([opening])
                self._serve(connection)
        except Exception as error:  # noqa: BLE001 - whoever starts us shall have it
            opening.error = error
            self._tell([opening])
            self._on_loop(self._on_failure, error)
        finally:
            self._on_loop(self._end)

    def _serve(self, connection: sqlite3.Connection) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                self._carry_out(connection, batch)
                self._tell(batch)
            if last:
                return
            if any(call.writes for call in batch):
                self._tidy(connection)

    def _next_batch(self) -> tuple[list[_Call], bool]:
        """Wait for a call; return it with all that are queued behind it, and whether to end."""
        batch: list[_Call] = []
        call = self._queue.get()
        while call is not None:
            batch.append(call)
            try:
                call = self._queue.get_nowait()
            except Empty:
                return batch, False
        return batch, True

    def _carry_out(self, connection: sqlite3.Connection, batch: Sequence[_Call]) -> None:
        """Commit the batch as one; if that fails, each call by itself, to spare the others."""
        try:
            self._commit(connection, batch)
        except Exception as error:  # noqa: BLE001 - it belongs to a caller, not to this thread
            if len(batch) == 1:
                batch[0].error = error
            else:
                self._one_by_one(connection, batch)
        failed = [call.error for call in batch if call.error is not None]
        if failed:
            self._on_loop(self._on_failure, failed[0])

    def _one_by_one(self, connection: sqlite3.Connection, batch: Sequence[_Call]) -> None:
        locked: Exception | None = None
        for call in batch:
            if locked is not None and call.writes:
                call.error = locked  # each would wait as long for the same lock
                continue
            try:
                self._commit(connection, [call])
            except sqlite3.Error as error:
                call.error = error
                locked = error if primary_code(error) == sqlite3.SQLITE_BUSY else None
            except Exception as error:  # noqa: BLE001 - as above
                call.error = error

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Call]) -> None:
        with transaction(connection, writes=any(call.writes for call in batch)):
            for call in batch:
                call.answer = call.work(connection)
        self.commits += 1

    def _tell(self, batch: Sequence[_Call]) -> None:
        self._on_loop(_settle, batch)

    def _on_loop(self, tell: Callable[..., None], *told: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(tell, *told)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more, the writes go on


def _settle(batch: Sequence[_Call]) -> None:
    for call in batch:
        if call.future.done():
            continue  # its caller was cancelled
        if call.error is None:
            call.future.set_result(call.answer)
        elif isinstance(call.error, sqlite3.Error):
            call.future.set_exception(_unavailable(call.error))
        else:
            call.future.set_exception(call.error)


def _unavailable(cause: sqlite3.Error | None) -> LedgerUnavailable:
    error = LedgerUnavailable(
        "The gateway cannot keep its records at the moment; nothing was submitted for this "
        "request. Send it again.",
        retry_after=5.0,
    )
    error.__cause__ = cause
    return error
