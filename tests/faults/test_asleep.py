"""A real process that stands still in the middle of a submit, as a paused machine does."""

import asyncio
from dataclasses import replace
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from gateway.sandbox import Constant, Drop, Fault
from tests.faults.processes import serving
from tests.faults.test_processes import start_process_harness
from tests.harness import PLAIN, origin, origin_of, photo, pictures_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds: a process of its own knows no others."""
    return "asyncio"


@pytest.mark.parametrize("answer", ["lost", "waiting"])
async def test_stopped_in_mid_submit(tmp_path: Path, answer: str) -> None:
    """Stopped when its task was made and going on eight seconds later, it pays for one task."""
    faults = (Fault("submit", Drop(after=True), count=1),) if answer == "lost" else ()
    sandbox = replace(PLAIN, latency=Constant(2.0), faults=faults)
    async with (
        start_process_harness(tmp_path, sandbox) as harness,
        serving(harness.file, harness.port) as process,
        asyncio.TaskGroup() as group,
    ):
        call = group.create_task(harness.edit())
        await harness.until_task_made()
        process.send_signal(SIGSTOP)
        await asyncio.sleep(8.0)
        process.send_signal(SIGCONT)

        assert origin_of(pictures_of(await call)[0]) == origin("make it blue", photo())
        assert (await harness.books())["tasks_made"] == 1
