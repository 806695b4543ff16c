"""The demo's stage: two simulated regions and the real gateway before them, in this process."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import httpx

from gateway.app import build as build_gateway
from gateway.config import Config
from gateway.config.build import build as build_config
from gateway.observe.logs import configure_logs
from gateway.sandbox import SandboxConfig, Uniform, bind, create_sandbox, running_regions
from gateway.server import server
from gateway.upstream.clients import Purpose
from gateway.upstream.transport import AiohttpTransport

# The real model takes about ten times as long, which nobody would watch.
_TASK = Uniform(4.0, 6.0)


@dataclass(frozen=True, slots=True)
class Client:
    """Someone with an OpenAI SDK and a key of ours, who knows nothing of DashScope."""

    tenant: str
    region: str
    prompt: str
    key: str = field(repr=False)


CUSTOMERS = (
    Client("acme", "beijing", "Make it warm, as at sunset", "wk-demo-acme"),
    Client("globex", "singapore", "Make it a pencil sketch", "wk-demo-globex"),
)


@asynccontextmanager
async def stage() -> AsyncIterator[str]:
    """Hold regions and gateway up for the length of the block; yield the gateway's URL."""
    # Only what went wrong, and not between the lines that the demo prints.
    configure_logs("warning", "text", sys.__stderr__)
    regions = {
        client.region: create_sandbox(
            SandboxConfig(
                region=client.region,
                accounts={"demo": (_upstream_key(client.region),)},
                latency=_TASK,
            )
        )
        for client in CUSTOMERS
    }
    async with running_regions(regions) as urls, _gateway(_config(urls)) as url:
        yield url


@asynccontextmanager
async def _gateway(config: Config) -> AsyncIterator[str]:
    """Serve the gateway from a thread of its own: uvicorn then leaves our signals alone."""
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
    """Reach the regions, which are on loopback, past any proxy of the environment."""
    return AiohttpTransport(
        keep_alive=1.5, ssl_context=httpx.create_ssl_context, proxy_of=lambda _: None
    )


def _serve(running: Any, listener: socket.socket) -> None:
    running.run(sockets=[listener])
    if not running.started:
        raise RuntimeError("The gateway did not start.")


async def _ready(url: str) -> None:
    """Ask once: the listener is bound, so the question waits until the gateway answers."""
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.get(f"{url}/readyz")).raise_for_status()


def _config(urls: Mapping[str, str]) -> Config:
    """Return what a config file for this stage would mean."""
    values: dict[str, Any] = {
        "state": {"path": "memory"},
        "regions": {name: {"base_url": f"{url}/api/v1"} for name, url in urls.items()},
        "upstreams": {name: {"region": name, "key": f"env:{name.upper()}"} for name in urls},
        "tenants": {
            client.tenant: {
                "region": client.region,
                "keys": [f"sha256:{sha256(client.key.encode()).hexdigest()}"],
            }
            for client in CUSTOMERS
        },
    }
    return build_config("demo", values, {name.upper(): _upstream_key(name) for name in urls})


def _upstream_key(region: str) -> str:
    return f"sk-demo-{region}"
