"""The demo itself: two simulated regions, the gateway, and two clients that edit at once."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

import httpx
import openai
import pybase64
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import build as build_gateway
from gateway.config import Config
from gateway.config.build import build as build_config
from gateway.observe.logs import configure_logs
from gateway.sandbox import SandboxConfig, Uniform, bind, create_sandbox, running_regions
from gateway.server import server
from gateway.upstream.clients import Purpose
from gateway.upstream.transport import AiohttpTransport

_TIMEOUT = 25.0
"""Seconds for an edit: five times what one takes here."""
# Seconds of a task; the real model takes about ten times as long.
_TASK = Uniform(4.0, 6.0)


@dataclass(frozen=True, slots=True)
class DemoClient:
    """A client of the gateway: an OpenAI SDK with a key of its tenant."""

    tenant: str
    region: str
    prompt: str
    key: str = field(repr=False)


CLIENTS = (
    DemoClient("acme", "beijing", "Make it warm, as at sunset", "wk-demo-acme"),
    DemoClient("globex", "singapore", "Make it a pencil sketch", "wk-demo-globex"),
)


@dataclass(frozen=True, slots=True)
class ClientOutcome:
    """How one client's edit ended."""

    succeeded: bool
    message: str


async def run_demo(name: str, photo: bytes, out: Path) -> int:
    """Edit *photo*, a file called *name*, for each client into *out*; return 0 if all succeeded."""
    async with running_gateway() as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        print(f"Two simulated DashScope regions are up, and the gateway: {url}/v1\n")
        for client in CLIENTS:
            print(f"  {client.tenant:<7} {client.region:<10} {client.prompt}")
        print(flush=True)
        before = counters(await _metrics(http))
        outcomes = await _all(url, http, name, photo, out)
        after = counters(await _metrics(http))
    print()
    for outcome in outcomes:
        print(outcome.message)
    print("\nWhat the gateway counted:\n")
    for line in changes(before, after):
        print(f"  {line}")
    return 0 if all(outcome.succeeded for outcome in outcomes) else 1


async def _all(
    url: str, http: httpx.AsyncClient, name: str, photo: bytes, out: Path
) -> list[ClientOutcome]:
    """Run every client's edit at once, and show how far they are."""
    async with asyncio.TaskGroup() as group:
        edits = [group.create_task(_edit(url, one, name, photo, out)) for one in CLIENTS]
        shown = group.create_task(_show(http))
        await asyncio.wait(edits)
        shown.cancel()
    return [edit.result() for edit in edits]


async def _edit(url: str, client: DemoClient, name: str, photo: bytes, out: Path) -> ClientOutcome:
    """Edit with the OpenAI SDK, as any program would, with another base_url."""
    clock = asyncio.get_running_loop()
    began = clock.time()
    # The gateway is on loopback: no proxy of the environment.
    direct = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key=client.key, timeout=_TIMEOUT, http_client=direct
    ) as sdk:
        try:
            answer = await sdk.images.with_raw_response.edit(
                model="gpt-image-1", image=(name, photo), prompt=client.prompt
            )
        except openai.APIError as error:
            return ClientOutcome(succeeded=False, message=f"{client.tenant}: {error}")
    pictures = answer.parse().data or []
    file = out / f"{client.tenant}.png"
    for picture in pictures:
        file.write_bytes(pybase64.b64decode(picture.b64_json or ""))
    headers = answer.headers
    return ClientOutcome(
        succeeded=bool(pictures),
        message=(
            f"{client.tenant:<7} {file}  {clock.time() - began:.1f} s  "
            f"{headers.get('x-wan-region')}, task {headers.get('x-wan-task-id')}"
        ),
    )


async def _show(http: httpx.AsyncClient) -> None:
    """Show once a second how far the tasks are, until cancelled."""
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


# ------------------------------------------------------------ regions and gateway


@asynccontextmanager
async def running_gateway() -> AsyncIterator[str]:
    """Run the regions and the gateway for the length of the block; yield the gateway's URL."""
    # To standard error: not between the lines that the demo prints.
    configure_logs("warning", "text", sys.__stderr__)
    regions = {
        client.region: create_sandbox(
            SandboxConfig(
                region=client.region,
                accounts={"demo": (_upstream_key(client.region),)},
                latency=_TASK,
            )
        )
        for client in CLIENTS
    }
    async with running_regions(regions) as urls, _gateway(_config(urls)) as url:
        yield url


@asynccontextmanager
async def _gateway(config: Config) -> AsyncIterator[str]:
    """Serve the gateway from a thread of its own, where uvicorn handles no signals."""
    with bind() as listener:
        host, port = listener.getsockname()[:2]
        running = server(build_gateway(config, transports=_direct), config)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(_serve, running, listener))
            try:
                await _ready(f"http://{host}:{port}")
                yield f"http://{host}:{port}"
            finally:
                running.should_exit = True


def _direct(_: Purpose) -> httpx.AsyncBaseTransport:
    """Connect without a proxy of the environment: the regions are on loopback."""
    return AiohttpTransport(
        keep_alive=1.5, ssl_context=httpx.create_ssl_context, proxy_of=lambda _: None
    )


def _serve(running: Any, listener: socket.socket) -> None:
    running.run(sockets=[listener])
    if not running.started:
        raise RuntimeError("The gateway did not start.")


async def _ready(url: str) -> None:
    """Wait for the gateway: its listener is bound, so the connection waits until it accepts."""
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.get(f"{url}/readyz")).raise_for_status()


def _config(urls: Mapping[str, str]) -> Config:
    """Return the config of the gateway."""
    values: dict[str, Any] = {
        "state": {"path": "memory"},
        "regions": {name: {"base_url": f"{url}/api/v1"} for name, url in urls.items()},
        "upstreams": {name: {"region": name, "key": f"env:{name.upper()}"} for name in urls},
        "tenants": {
            client.tenant: {
                "region": client.region,
                "keys": [f"sha256:{sha256(client.key.encode()).hexdigest()}"],
            }
            for client in CLIENTS
        },
    }
    return build_config("demo", values, {name.upper(): _upstream_key(name) for name in urls})


def _upstream_key(region: str) -> str:
    return f"sk-demo-{region}"


# ------------------------------------------------------------ progress


_WIDTH = 78


class Progress:
    """A line with seconds and task states: rewritten on a terminal, one a change on a pipe."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last: str | None = None

    def show(self, seconds: float, states: Mapping[str, str]) -> None:
        text = ", ".join(f"{region} {state}" for region, state in sorted(states.items()))
        line = f"  {seconds:3.0f} s  {text or 'waiting'}"
        if self._out.isatty():
            self._out.write(f"\r{line:<{_WIDTH}}")
        elif text != self._last:
            self._out.write(f"{line}\n")
        self._out.flush()
        self._last = text

    def end(self) -> None:
        """End the line on a terminal."""
        if self._out.isatty():
            self._out.write("\n")


# ------------------------------------------------------------ counters


Counters = Mapping[str, float]
"""A series, as Prometheus writes it: ``name{label="value"}`` → its value."""

_IN_FLIGHT = "wan_gateway_tasks_in_flight"


def counters(exposition: str) -> Counters:
    """Return the gateway's own counters, except those of reading them."""
    return {
        f"{name}{_spell(labels)}": value
        for kind, name, labels, value in _samples(exposition)
        if kind == "counter" and name.startswith("wan_gateway_") and name.endswith("_total")
        if labels.get("route") != "/metrics"
    }


def changes(before: Counters, after: Counters) -> list[str]:
    """Return a line for each counter that changed: ``+2  name{…}``."""
    gains = {name: value - before.get(name, 0) for name, value in after.items()}
    return [f"{gain:+g}  {name}" for name, gain in gains.items() if gain]


def states(exposition: str) -> dict[str, str]:
    """Return the state of the tasks of each region that has any: region → state."""
    return {
        labels["region"]: labels["state"]
        for _, name, labels, value in _samples(exposition)
        if name == _IN_FLIGHT and value > 0
    }


def _samples(exposition: str) -> Iterator[tuple[str, str, Mapping[str, str], float]]:
    """Yield type, name, labels and value of each sample."""
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            yield family.type, sample.name, sample.labels, sample.value


def _spell(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{inside}}}" if inside else ""
