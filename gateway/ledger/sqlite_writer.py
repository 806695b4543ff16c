"""The thread that owns the database; calls that queue up meanwhile share one commit (D41)."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.errors import primary_code
from gateway.ledger.sqlite_schema import transaction

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""May be run more than once, so it must be idempotent."""


@dataclass(slots=True, eq=False)
class _QueuedWork:
    work: Work[Any]
    writes: bool
    future: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None


class Writer:
    """
    Runs work on a connection in a thread of its own, in the order of the calls.

    Args:
        open_: Opens the connection; entered and left in the thread, as SQLite demands.
        after_write: Run after each batch that wrote, once its callers have their results.
        on_failure: Called on the event loop for each batch that could not be written.
    """

    def __init__(
        self,
        open_: Callable[[], AbstractContextManager[sqlite3.Connection]],
        *,
        after_write: Work[None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.commits = 0
        """Committed transactions, those of reads included."""
        self._open = open_
        self._after_write = after_write
        self._on_failure = on_failure
        self._queue: SimpleQueue[_QueuedWork | None] = SimpleQueue()
        self._accepting = False

    async def start(self) -> None:
        """
        Open the connection.

        Raises:
            Exception: what *open_* raised; the thread has ended then.
        """
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        ready: asyncio.Future[None] = self._loop.create_future()
        # A daemon, so that a process without an event loop can end.
        thread = threading.Thread(target=self._run, args=(ready,), name="ledger", daemon=True)
        thread.start()
        self._accepting = True
        try:
            await ready
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Accept no more calls, write those in the queue, close the connection."""
        if self._accepting:
            self._accepting = False
            self._queue.put(None)
        await self._ended.wait()

    async def run(self, work: Work[T], *, writes: bool) -> T:
        """
        Return the result of *work* once its transaction is committed.

        *work* is run even if the caller is cancelled.

        Raises:
            LedgerUnavailable: SQLite failed; nothing was written.
        """
        if not self._accepting:
            raise _unavailable(None)
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_QueuedWork(work, writes, future))
        return await future

    def _fail_rest(self) -> None:
        """Fail the calls that the ended thread did not reach."""
        self._accepting = False
        while not self._queue.empty():
            call = self._queue.get()
            if call is not None and not call.future.done():
                call.future.set_exception(_unavailable(None))
        self._ended.set()

    # ------------------------------------------------------------ in the thread

    def _run(self, ready: "asyncio.Future[None]") -> None:
        opening = _QueuedWork(lambda _: None, writes=False, future=ready)
        try:
            with self._open() as connection:
                self._resolve([opening])
                self._serve(connection)
        except Exception as error:  # noqa: BLE001 - start() raises it
            opening.error = error
            self._resolve([opening])
            self._on_loop(self._on_failure, error)
        finally:
            self._on_loop(self._fail_rest)

    def _serve(self, connection: sqlite3.Connection) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                self._run_batch(connection, batch)
                self._resolve(batch)
            if last:
                return
            if any(call.writes for call in batch):
                self._after_write(connection)

    def _next_batch(self) -> tuple[list[_QueuedWork], bool]:
        """Wait for a call; return it with all calls behind it, and whether to end."""
        batch: list[_QueuedWork] = []
        call = self._queue.get()
        while call is not None:
            batch.append(call)
            try:
                call = self._queue.get_nowait()
            except Empty:
                return batch, False
        return batch, True

    def _run_batch(self, connection: sqlite3.Connection, batch: Sequence[_QueuedWork]) -> None:
        """Commit the batch at once; if that fails, each call by itself, so that others succeed."""
        try:
            self._commit(connection, batch)
        except Exception as error:  # noqa: BLE001 - its caller raises it
            if len(batch) == 1:
                batch[0].error = error
            else:
                self._one_by_one(connection, batch)
        failed = [call.error for call in batch if call.error is not None]
        if failed:
            self._on_loop(self._on_failure, failed[0])

    def _one_by_one(self, connection: sqlite3.Connection, batch: Sequence[_QueuedWork]) -> None:
        locked: Exception | None = None
        for call in batch:
            if locked is not None and call.writes:
                call.error = locked  # every other write would wait as long for the same lock
                continue
            try:
                self._commit(connection, [call])
            except sqlite3.Error as error:
                call.error = error
                locked = error if primary_code(error) == sqlite3.SQLITE_BUSY else None
            except Exception as error:  # noqa: BLE001 - as above
                call.error = error

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_QueuedWork]) -> None:
        with transaction(connection, writes=any(call.writes for call in batch)):
            for call in batch:
                call.result = call.work(connection)
        self.commits += 1

    def _resolve(self, batch: Sequence[_QueuedWork]) -> None:
        self._on_loop(_set_results, batch)

    def _on_loop(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return  # the loop is closed, so no caller waits; the writes go on


def _set_results(batch: Sequence[_QueuedWork]) -> None:
    for call in batch:
        if call.future.done():
            continue  # the caller was cancelled
        if call.error is None:
            call.future.set_result(call.result)
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
