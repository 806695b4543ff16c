"""A gateway whose config is reloaded while it serves, and keys that the region stops to accept."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from gateway.config.build import build
from gateway.config.changes import Changes
from gateway.sandbox import Constant, SandboxConfig
from gateway.upstream.clients import Purpose
from tests.harness import PLAIN, UPSTREAM_KEY, Harness, direct, start_harness, tables

FIRST, SECOND, OTHER = UPSTREAM_KEY, "sk-second", "sk-other"
ENVIRON = {
    "KEY": FIRST,
    "SECOND": SECOND,
    "OTHER": OTHER,
    "TOKEN": "t" * 32,
    "NEW_TOKEN": "n" * 32,
}
REGION = replace(
    PLAIN, accounts={"alibaba": (FIRST, SECOND), "another": (OTHER,)}, latency=Constant(2.0)
)
_REFUSAL = {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "r"}


@dataclass(frozen=True)
class Keys:
    """Which keys were sent upstream, and which are refused there."""

    used: list[tuple[str, str]] = field(default_factory=list)
    """Method and key of each call."""
    refused: set[str] = field(default_factory=set)

    def transport(self, purpose: Purpose) -> httpx.AsyncBaseTransport:
        return _KeyTransport(direct(purpose), self)

    def of(self, method: str) -> set[str]:
        return {key for how, key in self.used if how == method}


@dataclass(frozen=True)
class _KeyTransport(httpx.AsyncBaseTransport):
    inner: httpx.AsyncBaseTransport
    keys: Keys

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if key:
            self.keys.used.append((request.method, key))
        if key in self.keys.refused:
            await request.aread()
            return httpx.Response(401, json=_REFUSAL)
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass(frozen=True)
class ReloadHarness:
    """A gateway, and the tables of its config."""

    harness: Harness
    values: dict[str, Any]
    keys: Keys

    @property
    def http(self) -> httpx.AsyncClient:
        return self.harness.http

    def reload(
        self, environ: Mapping[str, str] = ENVIRON, /, **changes: Mapping[str, Any] | None
    ) -> Changes:
        """Have the gateway take tables with other values; ``None`` removes a table."""
        for path, values in changes.items():
            if values is None:
                self.values.pop(path, None)
            else:
                self.values[path] = deepcopy(dict(values))
        return self.harness.gateway.reload(build("test", deepcopy(self.values), environ))

    def tenant(self, **changes: Any) -> dict[str, Any]:
        """Return the table of tenants with other keys of acme."""
        return {"acme": {**self.values["tenants"]["acme"], **changes}}

    def upstream(self, **changes: Any) -> dict[str, Any]:
        """Return the table of upstreams with other keys of the first one."""
        return {"beijing-main": {**self.values["upstreams"]["beijing-main"], **changes}}

    def metric(self, name: str, **labels: str) -> float | None:
        registry = self.harness.gateway.registry
        return registry.get_sample_value(f"wan_gateway_{name}", labels)


@asynccontextmanager
async def start_reloading(
    *configs: SandboxConfig, **more: Mapping[str, Any]
) -> AsyncIterator[ReloadHarness]:
    """Start a gateway before *configs*, or one region with two accounts."""
    keys = Keys()
    async with start_harness(
        *(configs or (REGION,)), transports=keys.transport, environ=ENVIRON, **more
    ) as harness:
        yield ReloadHarness(harness, tables(harness.regions, **more), keys)
