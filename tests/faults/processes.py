"""Real `wan-gateway serve` processes before a region of the test's own loop."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from signal import SIGKILL

import httpx

from tests.harness import UPSTREAM_KEY, eventually
from tests.process import tables


def config(folder: Path, region_url: str) -> Path:
    """Write a config with a ledger on disk."""
    file = folder / "gateway.toml"
    file.write_text(tables(folder, region_url), "utf-8")
    return file


@asynccontextmanager
async def serving(
    file: Path, port: int, program: Sequence[str] = ("gateway",)
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``serve``; once the block is left, the process is dead."""
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = (sys.executable, "-m", *program, "serve", "--config", str(file))
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--port", str(port)),
        env={**plain, "KEY": UPSTREAM_KEY},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await _ready(f"http://127.0.0.1:{port}")
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(SIGKILL)
            await process.wait()


async def _ready(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:

        async def up() -> bool:
            with suppress(httpx.TransportError):
                return (await http.get(f"{url}/readyz")).status_code == 200
            return False

        await eventually(up)
