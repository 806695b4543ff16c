"""A little life before a real gateway: tenants in two regions, with good ends and bad ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from gateway.sandbox import Constant, SandboxConfig
from tests.harness import Harness, hashed, photo, start_harness

KEYS = {name: f"wk-{name}" for name in ("acme", "studio", "tiny", "abroad")}
_SECONDS = 4.0  # that a task takes
_WAVES = 2


def region(name: str, **more: Any) -> SandboxConfig:
    """A region where every tenant of ours has an account of its own."""
    return SandboxConfig(
        region=name,
        accounts={tenant: (f"sk-{tenant}",) for tenant in KEYS},
        latency=Constant(_SECONDS),
        picture="plain",
        plain_bytes=30_000,
        **more,
    )


def tables() -> dict[str, Any]:
    """An upstream and an account for each tenant; the tiny one runs one task at a time."""
    region_by_tenant = dict.fromkeys(KEYS, "beijing") | {"abroad": "singapore"}
    return {
        "upstreams": {
            f"{tenant}-main": {"region": region, "key": f"env:{tenant.upper()}"}
            | ({"running_tasks": 1, "pending_ahead": 0} if tenant == "tiny" else {})
            for tenant, region in region_by_tenant.items()
        },
        "tenants": {
            tenant: {
                "region": region,
                "keys": [hashed(KEYS[tenant])],
                "upstreams": [f"{tenant}-main"],
            }
            | ({"max_waiting": 1} if tenant == "tiny" else {})
            for tenant, region in region_by_tenant.items()
        },
    }


@asynccontextmanager
async def town() -> AsyncIterator[Harness]:
    """Hold both regions up, and a gateway before them."""
    environ = {tenant.upper(): f"sk-{tenant}" for tenant in KEYS}
    async with start_harness(
        region("beijing"), region("singapore"), environ=environ, **tables()
    ) as harness:
        yield harness


async def edit(
    harness: Harness, tenant: str, prompt: str, shade: int = 0, **headers: str
) -> httpx.Response:
    """Ask for an edit as *tenant*."""
    all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    key = {"authorization": f"Bearer {KEYS[tenant]}"}
    return await harness.edit(prompt, picture=photo(shade), headers=key | all_headers)


async def leave(harness: Harness, tenant: str, prompt: str) -> None:
    """Ask for an edit, and hang up while its task runs."""
    task = asyncio.get_running_loop().create_task(edit(harness, tenant, prompt))
    region = "singapore" if tenant == "abroad" else "beijing"
    with suppress(TimeoutError):  # a busy machine may look only after the task has ended
        async with asyncio.timeout(4 * _SECONDS):
            await harness.until("RUNNING", prompt, region)
            await asyncio.sleep(_SECONDS / 4)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def live(harness: Harness, looks: Callable[[], Awaitable[float]]) -> float:
    """Ask for edits of all kinds, twice; Prometheus *looks* after each; return when it last did."""
    seen = 0.0
    for wave in range(_WAVES):
        await _all(
            *(edit(harness, "acme", f"sepia {wave} {n}", n) for n in range(4)),
            *(edit(harness, "abroad", f"snow {wave} {n}", n) for n in range(3)),
            *(edit(harness, "tiny", f"crowd {wave} {n}", n) for n in range(4)),
            edit(harness, "acme", f"{wave} [sandbox:fail InternalError.Timeout]"),
            edit(harness, "abroad", f"{wave} [sandbox:fail InternalError]"),
            edit(harness, "studio", f"{wave} [sandbox:refuse DataInspectionFailed]"),
            edit(harness, "studio", f"key {wave}", idempotency_key=f"k{wave}"),
            edit(harness, "studio", f"again {wave}", x_stainless_retry_count="1"),
            edit(harness, "studio", f"hurry {wave}", x_stainless_read_timeout="60"),
            edit(harness, "acme", ""),
            leave(harness, "acme", f"gone {wave}"),
        )
        seen = await looks()
    return seen


async def _all(*works: Awaitable[Any]) -> None:
    async with asyncio.timeout(200):
        await asyncio.gather(*works)
