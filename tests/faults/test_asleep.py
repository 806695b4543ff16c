"""A real process that stands still in the middle of a submit, as a paused machine does."""

import asyncio
from dataclasses import replace
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import httpx
import pytest

from gateway.sandbox import Constant, Drop, Fault
from tests.faults.processes import serving
from tests.faults.stopping import INTENT_SECONDS
from tests.faults.test_processes import start_process_harness
from tests.harness import PLAIN, eventually, origin, origin_of, photo, pictures_of

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


@pytest.mark.parametrize("piece", ["first", "last"])
async def test_stopped_before_a_piece_of_the_body(tmp_path: Path, piece: str) -> None:
    """Stopped there for longer than its intent lasts, a submit makes no task when it goes on."""
    program = ("tests.faults.stopping", piece)
    async with (
        start_process_harness(tmp_path, replace(PLAIN, latency=Constant(0.5))) as harness,
        serving(harness.file, harness.port, program) as process,
        asyncio.TaskGroup() as group,
    ):
        call = group.create_task(harness.edit())
        await _until_stopped(process.pid)
        await asyncio.sleep(INTENT_SECONDS + 0.5)
        process.send_signal(SIGCONT)

        assert origin_of(pictures_of(await call)[0]) == origin("make it blue", photo())
        assert (await harness.books())["tasks_made"] == 1
        async with httpx.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(f"http://127.0.0.1:{harness.port}/metrics")).text
        assert 'wan_gateway_intents_expired_total{region="beijing"} 1.0' in metrics


async def _until_stopped(pid: int) -> None:
    """Wait until a process is stopped, by what the kernel says of it."""

    async def stopped() -> bool:
        return _state_of(pid) == "T"

    await eventually(stopped)


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
