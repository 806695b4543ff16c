import asyncio
import gc
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import pytest

from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.sqlite_writer import Writer, _QueuedWork

pytestmark = pytest.mark.anyio


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE words (word TEXT UNIQUE)")
        yield connection


def nothing(_: object) -> None:
    pass


def writer_of(
    tidy: Callable[[sqlite3.Connection], None] = nothing,
    on_failure: Callable[[Exception], None] = nothing,
) -> Writer:
    return Writer(database, after_write=tidy, on_failure=on_failure)


def add(word: Any) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO words VALUES (?)", (word,))

    return work


def words(connection: sqlite3.Connection) -> list[str]:
    return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word")]


class HeldWork:
    """Work that holds the thread until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()

    def __call__(self, _: sqlite3.Connection) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        assert self._open.wait(60)

    def open(self) -> None:
        self._open.set()


async def test_the_loop_runs_on_while_the_disk_stands_still() -> None:
    """A write that hangs holds up its caller and nobody else."""
    writer = writer_of()
    await writer.start()
    gate = HeldWork()
    async with asyncio.TaskGroup() as group:
        hangs = group.create_task(writer.run(gate, writes=True))
        await gate.reached.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        still_hangs = not hangs.done()
        gate.open()
    await writer.stop()

    assert still_hangs


async def test_a_write_that_fails_spares_its_neighbours() -> None:
    """Of a batch only the write that cannot be made is refused, whatever is wrong with it."""
    failures: list[Exception] = []
    writer = writer_of(on_failure=failures.append)
    await writer.start()
    gate = HeldWork()
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.run(gate, writes=False))
        await gate.reached.wait()
        answers = group.create_task(gathered(writer, add("a"), add("a"), add(object()), add("b")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.open()
    kept = await writer.run(words, writes=False)
    await writer.stop()

    kinds = [type(answer) for answer in answers.result()]
    assert kinds == [type(None), LedgerUnavailable, LedgerUnavailable, type(None)]
    assert kept == ["a", "b"]
    assert [type(failure) for failure in failures] == [sqlite3.IntegrityError]


async def gathered(writer: Writer, *works: Callable[[sqlite3.Connection], None]) -> list[Any]:
    calls = (writer.run(work, writes=True) for work in works)
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("neighbours", [pytest.param(0, id="alone"), pytest.param(2, id="among")])
async def test_a_bug_is_told_as_itself(neighbours: int) -> None:
    """What is not SQLite's fault reaches the caller as it is, and the thread lives on."""

    def bug(_: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    writer = writer_of()
    await writer.start()

    answers = await gathered(writer, bug, *(add(str(n)) for n in range(neighbours)))

    kept = await writer.run(words, writes=False)
    await writer.stop()
    assert [type(answer) for answer in answers] == [ZeroDivisionError, *[type(None)] * neighbours]
    assert kept == ["0", "1"][:neighbours]


async def test_a_cancelled_caller_has_its_write_all_the_same() -> None:
    """What was begun is carried out."""
    writer = writer_of()
    await writer.start()
    gate = HeldWork()
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.run(gate, writes=False))
        await gate.reached.wait()
        caller = group.create_task(writer.run(add("a"), writes=True))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
        gate.open()
    kept = await writer.run(words, writes=False)
    await writer.stop()

    assert caller.cancelled()
    assert kept == ["a"]


async def test_a_cancelled_callers_failure_makes_no_noise() -> None:
    """Nobody waits for the error, so nobody is told that nobody did."""
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    writer = writer_of()
    await writer.start()
    gate = HeldWork()
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.run(gate, writes=False))
        await gate.reached.wait()
        caller = group.create_task(writer.run(add(object()), writes=True))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
        gate.open()
    await writer.stop()
    del caller
    gc.collect()

    assert noise == []


async def test_stopping_waits_for_what_is_queued() -> None:
    """The last words are written before the connection is closed, and none are taken after."""
    writer = writer_of()
    await writer.start()
    gate = HeldWork()
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.run(gate, writes=False))
        await gate.reached.wait()
        late = [group.create_task(writer.run(add(word), writes=True)) for word in "abc"]
        await asyncio.sleep(0)
        stopping = group.create_task(writer.stop())
        await asyncio.sleep(0)
        with pytest.raises(LedgerUnavailable):
            await writer.run(words, writes=False)
        gate.open()

    assert stopping.done()
    assert [task.exception() for task in late] == [None] * 3


async def test_it_can_be_started_again() -> None:
    """A second run begins with an empty queue."""
    writer = writer_of()
    for _ in range(2):
        await writer.start()
        await writer.stop()

    await writer.start()
    kept = await writer.run(words, writes=False)
    await writer.stop()

    assert kept == []


async def test_what_cannot_be_opened_is_told_to_who_starts_it() -> None:
    """And nothing is left running."""

    def broken() -> AbstractContextManager[sqlite3.Connection]:
        raise ZeroDivisionError

    writer = Writer(broken, after_write=nothing, on_failure=nothing)

    with pytest.raises(ZeroDivisionError):
        await writer.start()

    with pytest.raises(LedgerUnavailable):
        await writer.run(words, writes=False)


async def test_a_start_that_is_cancelled_closes_what_it_opened() -> None:
    """Nobody will stop a thread whose start was given up."""
    gate, closed = HeldWork(), threading.Event()

    @contextmanager
    def slow() -> Iterator[sqlite3.Connection]:
        with database() as connection:
            gate(connection)
            yield connection
        closed.set()

    writer = Writer(slow, after_write=nothing, on_failure=nothing)
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(writer.start())
        await gate.reached.wait()
        starting.cancel()
        await asyncio.sleep(0)
        gate.open()

    assert starting.cancelled()
    assert closed.is_set()


async def test_a_thread_that_dies_leaves_nobody_waiting() -> None:
    """Callers in its queue are refused, those who come later as well, and the operator is told."""
    failures: list[Exception] = []
    gate = HeldWork()

    def dies(connection: sqlite3.Connection) -> None:
        gate(connection)
        raise ZeroDivisionError

    writer = writer_of(tidy=dies, on_failure=failures.append)
    await writer.start()
    await writer.run(add("a"), writes=True)
    await gate.reached.wait()
    async with asyncio.TaskGroup() as group:
        queued = group.create_task(gathered(writer, add("b"), add("c")))
        given_up = group.create_task(writer.run(add("d"), writes=True))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        given_up.cancel()
        gate.open()
    later = await gathered(writer, add("e"))
    await writer.stop()

    assert [type(answer) for answer in queued.result() + later] == [LedgerUnavailable] * 3
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


def test_a_loop_that_is_gone_does_not_stop_the_writes() -> None:
    """A process that falls apart still keeps what it had begun to write."""
    written, loop = threading.Event(), asyncio.new_event_loop()

    def last(_: sqlite3.Connection) -> None:
        written.set()

    writer = writer_of()
    loop.run_until_complete(writer.start())
    thread = next(thread for thread in threading.enumerate() if thread.name == "ledger")
    nobody = loop.create_future()
    loop.close()

    writer._queue.put(_QueuedWork(last, writes=True, future=nobody))
    writer._queue.put(None)
    thread.join(10)

    assert written.is_set()
    assert not thread.is_alive()
