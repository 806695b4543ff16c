"""One process after another on one ledger: what SIGKILL leaves, and who may hold it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from gateway.ledger.errors import LedgerError
from gateway.ledger.memory import MemoryLedger
from gateway.ledger.sqlite import SqliteLedger
from tests.ledger.records import EDIT, FIRST, NOW, Calendar, edit
from tests.ledger.story import ROOT, STEPS, command, story

pytestmark = pytest.mark.anyio


async def test_the_next_process_finds_it(ledger: SqliteLedger) -> None:
    """What one process wrote and closed, the next one reads."""
    async with ledger:
        await ledger.intend(EDIT, FIRST)

    async with ledger:
        assert await ledger.find("edit_1") is not None


@pytest.mark.parametrize("steps", range(len(STEPS) + 1))
async def test_killed_after_a_write_it_has_that_write(path: Path, steps: int) -> None:
    """SIGKILL between any two writes leaves exactly what was acknowledged."""
    expected = MemoryLedger(lambda: NOW)
    for step in STEPS[:steps]:
        await step(expected)

    died = await asyncio.to_thread(story, path, steps)

    assert died.returncode == -signal.SIGKILL, died.stderr
    async with SqliteLedger(path, sync="normal", epoch=lambda: NOW) as left:
        assert await left.owed() == await expected.owed()
        for name in ("edit_1", "edit_2", "edit_3"):
            assert await left.find(name) == await expected.find(name)
        assert await left.find_tasks(["t1", "t2"]) == await expected.find_tasks(["t1", "t2"])


async def test_killed_amid_writes_it_has_all_that_were_acknowledged(path: Path) -> None:
    """Under 20 writers at once, nothing that was acknowledged is lost to SIGKILL."""
    process = await asyncio.create_subprocess_exec(
        *command(path, "write"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    output = [await process.stdout.readline() for _ in range(500)]
    process.kill()
    output += (await process.stdout.read()).splitlines()
    await process.wait()

    async with SqliteLedger(path, sync="normal", epoch=lambda: NOW) as left:
        missing = [name for name in output if not await left.find(name.decode().strip())]

    assert len(output) >= 500
    assert missing == []


async def test_an_open_edit_without_a_task_is_dropped_at_the_start(
    ledger: SqliteLedger, path: Path
) -> None:
    """Its process died between a refused submit and the next one: nothing is owed."""
    async with ledger:
        await ledger.intend(EDIT, FIRST)
        await ledger.intend(edit("edit_2"), FIRST)
        await ledger.void("edit_1", 0)

    async with ledger:
        assert await ledger.find("edit_1") is None
        assert await ledger.find("edit_2") is not None


async def test_a_second_process_is_refused_until_the_first_is_dead(
    ledger: SqliteLedger, path: Path
) -> None:
    """Two processes on one ledger refuse to run; SIGKILL of the holder frees it."""
    process = await asyncio.create_subprocess_exec(
        *command(path, "hold"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()

    with pytest.raises(LedgerError, match=f"{path}: is in use by process {process.pid}; stop"):
        await ledger.__aenter__()

    process.kill()
    await process.wait()
    async with ledger:
        assert await ledger.owed() == []


async def test_by_another_name_it_is_the_same_ledger(
    ledger: SqliteLedger, path: Path, tmp_path: Path, calendar: Calendar
) -> None:
    """A link to the file is refused as well: there is one lock for all its names."""
    async with ledger:
        (tmp_path / "link.db").symlink_to(path)
        other = SqliteLedger(tmp_path / "link.db", sync="normal", epoch=calendar)

        with pytest.raises(LedgerError, match=f"in use by process {os.getpid()}"):
            await other.__aenter__()
