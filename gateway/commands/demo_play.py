"""The demo's story: two clients edit one photograph at once, through the official SDK."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pybase64

from gateway.commands.demo_progress import Progress
from gateway.commands.demo_scores import counters, moved, states
from gateway.commands.demo_stage import CUSTOMERS, Client, stage

_PATIENCE = 25.0
"""Seconds for an edit: five times what one takes here."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one client's edit ended."""

    well: bool
    says: str


async def play(name: str, photo: bytes, out: Path) -> int:
    """Edit *photo*, a file called *name*, for each client into *out*; 0 if all came home."""
    async with stage() as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        print(f"Two simulated DashScope regions are up, and the gateway: {url}/v1\n")
        for client in CUSTOMERS:
            print(f"  {client.tenant:<7} {client.region:<10} {client.prompt}")
        print(flush=True)
        before = counters(await _metrics(http))
        outcomes = await _all(url, http, name, photo, out)
        after = counters(await _metrics(http))
    print()
    for outcome in outcomes:
        print(outcome.says)
    print("\nWhat the gateway counted meanwhile:\n")
    for line in moved(before, after):
        print(f"  {line}")
    return 0 if all(outcome.well for outcome in outcomes) else 1


async def _all(
    url: str, http: httpx.AsyncClient, name: str, photo: bytes, out: Path
) -> list[Outcome]:
    """Run every client's edit at once, and show how far they are."""
    async with asyncio.TaskGroup() as group:
        edits = [group.create_task(_edit(url, one, name, photo, out)) for one in CUSTOMERS]
        shown = group.create_task(_show(http))
        await asyncio.wait(edits)
        shown.cancel()
    return [edit.result() for edit in edits]


async def _edit(url: str, client: Client, name: str, photo: bytes, out: Path) -> Outcome:
    """Do what any program with an OpenAI SDK does, with another base_url."""
    clock = asyncio.get_running_loop()
    began = clock.time()
    # A proxy of the environment has no business on loopback.
    direct = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key=client.key, timeout=_PATIENCE, http_client=direct
    ) as sdk:
        try:
            answer = await sdk.images.with_raw_response.edit(
                model="gpt-image-1", image=(name, photo), prompt=client.prompt
            )
        except openai.APIError as error:
            return Outcome(well=False, says=f"{client.tenant}: {error}")
    pictures = answer.parse().data or []
    file = out / f"{client.tenant}.png"
    for picture in pictures:
        file.write_bytes(pybase64.b64decode(picture.b64_json or ""))
    headers = answer.headers
    return Outcome(
        well=bool(pictures),
        says=(
            f"{client.tenant:<7} {file}  {clock.time() - began:.1f} s  "
            f"{headers.get('x-wan-region')}, task {headers.get('x-wan-task-id')}"
        ),
    )


async def _show(http: httpx.AsyncClient) -> None:
    """Say once a second how far the tasks are, until cancelled."""
    clock = asyncio.get_running_loop()
    progress = Progress(sys.stdout)
    began = clock.time()
    try:
        while True:
            progress.show(clock.time() - began, states(await _metrics(http)))
            await asyncio.sleep(1)
    finally:
        progress.end()


async def _metrics(http: httpx.AsyncClient) -> str:
    return (await http.get("/metrics")).text
