"""A program that writes to a ledger and is killed: `python -m tests.ledger.story PATH HOW`."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.domain.errors import LedgerUnavailable, UpstreamFailed
from gateway.domain.record import EditState
from gateway.edits.ports import Ledger
from gateway.ledger.sqlite import SqliteLedger
from tests.ledger.records import EDIT, FIRST, NOW, SECOND, edit

ROOT = Path(__file__).parents[2]

Step = Callable[[Ledger], Awaitable[object]]

STEPS: tuple[Step, ...] = (
    lambda ledger: ledger.intend(EDIT, FIRST),
    lambda ledger: ledger.accept("edit_1", 0, "beijing-main", "t1"),
    lambda ledger: ledger.intend(EDIT, SECOND),
    lambda ledger: ledger.void("edit_1", 1),
    lambda ledger: ledger.intend(EDIT, SECOND),
    lambda ledger: ledger.accept("edit_1", 1, "beijing-two", "t2"),
    lambda ledger: ledger.end_task("edit_1", 0, "succeeded"),
    lambda ledger: ledger.end_task("edit_1", 1, "failed"),
    lambda ledger: ledger.end_edit("edit_1", EditState.SUCCEEDED),
    lambda ledger: ledger.deliver("edit_1"),
    lambda ledger: ledger.intend(edit("edit_2"), FIRST),
    lambda ledger: ledger.end_edit("edit_2", EditState.FAILED, UpstreamFailed("It failed.")),
    lambda ledger: ledger.intend(edit("edit_3"), FIRST),
    lambda ledger: ledger.end_edit("edit_3", EditState.DROPPED),
    lambda ledger: ledger.promise(edit("edit_4")),
    lambda ledger: ledger.unpromise("edit_4"),
)
"""Every write there is, in an order in which an edit may make them."""


def say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


async def die_after(path: str, steps: int) -> None:
    """Take *steps* steps, then be killed before the next."""
    async with SqliteLedger(path, sync="normal", epoch=lambda: NOW) as ledger:
        for step in STEPS[:steps]:
            await step(ledger)
        os.kill(os.getpid(), signal.SIGKILL)


async def write_until_killed(path: str) -> None:
    """Say each edit that was acknowledged, from 20 writers at once."""
    async with SqliteLedger(path, sync="full", epoch=lambda: NOW) as ledger:

        async def write(writer: int) -> None:
            for number in range(100_000):
                name = f"edit_{writer}_{number}"
                await ledger.intend(edit(name), FIRST)
                say(name)

        await asyncio.gather(*(write(writer) for writer in range(20)))


async def fill_the_disk(path: str) -> None:
    """Write until no file may grow any more, then make room and go on."""
    async with SqliteLedger(path, sync="normal", epoch=lambda: NOW) as ledger:
        await ledger.intend(EDIT, FIRST)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
        kept = ["edit_1"]
        try:
            for number in range(10_000):
                await ledger.intend(edit(f"more_{number}"), FIRST)
                kept.append(f"more_{number}")
        except LedgerUnavailable:
            say("refused")
        if await ledger.find("edit_1") is not None:
            say("still reads")
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        await ledger.intend(edit("last"), FIRST)
        kept.append("last")
        if all([await ledger.find(name) for name in kept]):
            say("kept")


async def hold(path: str) -> None:
    """Hold the ledger until killed."""
    async with SqliteLedger(path, sync="normal", epoch=lambda: NOW):
        say("holds")
        await asyncio.Event().wait()


def command(path: Path, how: object) -> list[str]:
    return [sys.executable, "-m", "tests.ledger.story", str(path), str(how)]


def story(path: Path, how: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(path, how), cwd=ROOT, capture_output=True, timeout=150, check=False
    )


def main(path: str, how: str) -> None:
    stories = {"write": write_until_killed, "full": fill_the_disk, "hold": hold}
    asyncio.run(stories[how](path) if how in stories else die_after(path, int(how)))


if __name__ == "__main__":
    main(*sys.argv[1:])
