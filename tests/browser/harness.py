"""A gateway with its dashboard on, before simulated regions, in a thread of its own: real time."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway.app import Gateway
from gateway.sandbox import Fault, SandboxConfig, Uniform
from tests.harness import ThreadedHarness, hashed, photo, start_threaded_harness

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


@dataclass(frozen=True, slots=True)
class DashboardHarness:
    """What a test in another thread does to the gateway."""

    threaded: ThreadedHarness
    edits: list["Future[httpx.Response]"] = field(default_factory=list)
    """Those that were begun, in their order."""

    @property
    def url(self) -> str:
        return self.threaded.url

    @property
    def gateway(self) -> Gateway:
        return self.threaded.harness.gateway

    def edit(
        self,
        tenant: str,
        prompt: str = "make it sepia",
        picture: bytes | None = None,
        **fields: str,
    ) -> None:
        """Begin an edit, which goes on beside the test."""
        key = {"authorization": f"Bearer {KEYS[tenant]}"}
        picture = picture or photo(len(self.edits) * 23 % 256, "JPEG")
        edit = self.threaded.harness.edit(prompt, picture=picture, headers=key, **fields)
        self.edits.append(self.threaded.start(edit))

    def leave(self) -> None:
        """Let the client who came last hang up."""
        self.edits[-1].cancel()

    def set_faults(self, *faults: Fault, region: str = "beijing") -> None:
        """Replace the region's faults."""
        self.threaded.run(self.threaded.harness.set_faults(*faults, region=region))

    def drain(self) -> None:
        """Do what the first SIGTERM does."""
        self._call(lambda: self.gateway.drain(60.0))

    def turn_away(self) -> None:
        """Answer every client that waits, as the end of a drain does."""
        self._call(self.gateway.turn_away)

    def _call(self, work: Callable[[], None]) -> None:
        async def call() -> None:
            work()

        self.threaded.run(call())


@contextmanager
def start_dashboard_harness(
    dashboard: Mapping[str, Any], *, low: float = 6.0, high: float = 14.0, **more: Any
) -> Iterator[DashboardHarness]:
    """Serve the gateway and its regions; at the end the clients of the edits leave."""
    regions = region("beijing", low, high), region("singapore", low, high)
    values = {**tables(), "dashboard": dashboard, **more}
    with start_threaded_harness(
        *regions, new_loop=asyncio.new_event_loop, environ=ENVIRON, **values
    ) as threaded:
        harness = DashboardHarness(threaded)
        try:
            yield harness
        finally:
            for edit in harness.edits:
                edit.cancel()
