"""A gateway with its dashboard on, before simulated regions, in a thread of its own: real time."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway.sandbox import Fault, SandboxConfig, Uniform
from tests.harness import Harness, hashed, photo, start_harness

TOKEN = "a-token-for-the-dashboard"
KEYS = {name: f"wk-{name}" for name in ("acme", "studio", "tiny", "abroad")}
ENVIRON = {
    "TOKEN": TOKEN,
    "SPARE": "sk-acme-spare",
    "REVOKED": "sk-revoked",
    **{name.upper(): f"sk-{name}" for name in KEYS},
}


def region(name: str, low: float, high: float) -> SandboxConfig:
    """A region where every tenant has an account; tasks take *low* to *high* seconds."""
    accounts = {tenant: (f"sk-{tenant}", f"sk-{tenant}-spare") for tenant in KEYS}
    return SandboxConfig(
        region=name,
        accounts=accounts,
        latency=Uniform(low, high),
        picture="plain",
        plain_bytes=60_000,
    )


def tables() -> dict[str, Any]:
    """Two keys of one account, a revoked one, a tenant with a single slot, one abroad."""
    beijing = {"region": "beijing"}
    return {
        "upstreams": {
            "acme-main": {**beijing, "key": "env:ACME", "account": "acme-cn"},
            "acme-spare": {**beijing, "key": "env:SPARE", "account": "acme-cn"},
            "studio-old": {**beijing, "key": "env:REVOKED", "account": "studio"},
            "studio-new": {**beijing, "key": "env:STUDIO", "account": "studio"},
            "tiny-main": {
                **beijing,
                "key": "env:TINY",
                "account": "tiny",
                "running_tasks": 1,
                "pending_ahead": 0,
            },
            "abroad-main": {"region": "singapore", "key": "env:ABROAD", "account": "abroad-sg"},
        },
        "tenants": {
            tenant: {
                "region": "singapore" if tenant == "abroad" else "beijing",
                "keys": [hashed(KEYS[tenant])],
                "upstreams": upstreams,
            }
            for tenant, upstreams in {
                "acme": ["acme-main", "acme-spare"],
                "studio": ["studio-old", "studio-new"],
                "tiny": ["tiny-main"],
                "abroad": ["abroad-main"],
            }.items()
        },
    }


@dataclass
class Scene:
    """What a test in another thread does to the gateway."""

    url: str
    harness: Harness
    loop: asyncio.AbstractEventLoop
    asked: list["Future[httpx.Response]"] = field(default_factory=list)

    def edit(
        self,
        tenant: str,
        prompt: str = "make it sepia",
        picture: bytes | None = None,
        **fields: str,
    ) -> None:
        """Begin an edit, which goes on beside the test."""
        key = {"authorization": f"Bearer {KEYS[tenant]}"}
        picture = picture or photo(len(self.asked) * 23 % 256, "JPEG")
        asked = self.harness.edit(prompt, picture=picture, headers=key, **fields)
        self.asked.append(asyncio.run_coroutine_threadsafe(asked, self.loop))

    def leave(self) -> None:
        """Let the client who came last hang up."""
        self.asked[-1].cancel()

    def set_faults(self, *faults: Fault, region: str = "beijing") -> None:
        """Replace the region's faults."""
        self.run(self.harness.set_faults(*faults, region=region))

    def drain(self) -> None:
        """Do what the first SIGTERM does."""
        self.run(self._call(lambda: self.harness.gateway.drain(60.0)))

    def stop(self) -> None:
        """Send everybody home, as the end of a drain does."""
        self.run(self._call(self.harness.gateway.turn_away))

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def _call(self, what: Any) -> None:
        what()


@contextmanager
def scene(
    dashboard: Mapping[str, Any], *, low: float = 6.0, high: float = 14.0, **more: Any
) -> Iterator[Scene]:
    """Hold a scene up; its edits are let go at its end."""
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    held: list[Scene] = []

    async def live() -> None:
        regions = region("beijing", low, high), region("singapore", low, high)
        told = {**tables(), "dashboard": dashboard, **more}
        try:
            async with start_harness(*regions, environ=ENVIRON, **told) as harness:
                held.append(Scene(harness.url, harness, loop))
                ready.set()
                await over.wait()
                for asked in held[0].asked:
                    asked.cancel()
        finally:
            ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    try:
        ready.wait()
        yield held[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
