"""What a reload does to running and waiting edits: keys, accounts, regions, limits."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config import ConfigError
from gateway.sandbox import Constant, Drop, Fault
from tests.harness import KEY, PLAIN, eventually, hashed, pictures_of
from tests.reload.harness import (
    ENVIRON,
    FIRST,
    OTHER,
    REGION,
    SECOND,
    ReloadHarness,
    start_reloading,
)

pytestmark = pytest.mark.anyio

SLOW = replace(REGION, latency=Constant(20.0))


async def made(reloading: ReloadHarness) -> int:
    return len((await reloading.harness.books())["tasks"])


async def test_a_rotated_key() -> None:
    """A running edit is followed, and the next one submitted, with the renewed key alone."""
    async with start_reloading() as reloading, asyncio.TaskGroup() as group:
        first = group.create_task(reloading.harness.edit("first"))
        await reloading.harness.until("RUNNING", "first")
        changes = reloading.reload({**ENVIRON, "KEY": SECOND})
        reloading.keys.refused.add(FIRST)
        reloading.keys.used.clear()
        second = await reloading.harness.edit("second")
        await first

        assert changes.changed == ("upstreams.beijing-main.key",)
        assert len(pictures_of(first.result())) == len(pictures_of(second)) == 1
        assert reloading.keys.of("GET") == reloading.keys.of("POST") == {SECOND}
        assert await made(reloading) == 2
        key = {"region": "beijing", "key": "beijing-main"}
        assert reloading.metric("upstream_key_up", **key) == 1


async def test_a_key_that_was_revoked_before_it_was_renewed() -> None:
    """What waits is submitted with the renewed key; that the old one was refused is forgotten."""
    upstreams = {"beijing-main": {"region": "beijing", "key": "env:KEY", "running_tasks": 1}}
    async with start_reloading(SLOW, upstreams=upstreams) as reloading:
        async with asyncio.TaskGroup() as group:
            edits = [group.create_task(reloading.harness.edit(f"edit {i}")) for i in range(3)]
            await reloading.harness.until("RUNNING")
            reloading.keys.refused.add(FIRST)
            await asyncio.sleep(15.0)
            reloading.reload({**ENVIRON, "KEY": SECOND})

        assert [len(pictures_of(edit.result())) for edit in edits] == [1, 1, 1]
        assert await made(reloading) == 3
        key = {"region": "beijing", "key": "beijing-main"}
        assert reloading.metric("upstream_key_up", **key) == 1


async def test_a_submit_in_doubt_is_settled_with_the_renewed_key() -> None:
    """The task of a lost answer is found with the new key, and nothing is paid twice."""
    async with start_reloading() as reloading, asyncio.TaskGroup() as group:
        await reloading.harness.set_faults(Fault("submit", Drop(), count=1))
        edit = group.create_task(reloading.harness.edit())
        await reloading.harness.until("RUNNING")
        reloading.reload({**ENVIRON, "KEY": SECOND})
        reloading.keys.refused.add(FIRST)
        await edit

        assert len(pictures_of(edit.result())) == 1
        assert await made(reloading) == 1


async def test_an_upstream_is_replaced_by_one_of_another_account() -> None:
    """Running edits are followed with the key that made them; the next one goes to the new one."""
    async with start_reloading() as reloading, asyncio.TaskGroup() as group:
        first = group.create_task(reloading.harness.edit("first"))
        await reloading.harness.until("RUNNING", "first")
        with capture_logs() as log:
            reloading.reload(upstreams={"new": {"region": "beijing", "key": "env:OTHER"}})
            second = await reloading.harness.edit("second")
            await first

        assert len(pictures_of(first.result())) == len(pictures_of(second)) == 1
        assert reloading.keys.of("POST") == {FIRST, OTHER}
        (warning,) = [line for line in log if line["event"] == "restart_would_be_refused"]
        assert "1 open edit of the account beijing-main" in warning["reason"]
        keys = {"new": 1, "beijing-main": None}
        for name, up in keys.items():
            assert reloading.metric("upstream_key_up", region="beijing", key=name) == up


async def test_a_removed_upstream_comes_back() -> None:
    """What was left out and is back is the account that it was; its edits are fetched."""
    async with start_reloading() as reloading:
        upstreams = reloading.values["upstreams"]
        key = {"idempotency-key": "k"}
        first = await reloading.harness.edit(headers=key)
        reloading.reload(upstreams={"new": {"region": "beijing", "key": "env:OTHER"}})
        replayed = await reloading.harness.edit(headers=key)
        reloading.reload(upstreams=upstreams)
        again = await reloading.harness.edit(headers=key)

        assert pictures_of(first) == pictures_of(replayed) == pictures_of(again)
        assert await made(reloading) == 1


async def test_an_account_gets_another_name() -> None:
    """It stays one account: its limit counts what was submitted under the old name."""
    upstreams = {"beijing-main": {"region": "beijing", "key": "env:KEY", "running_tasks": 2}}
    region = replace(SLOW, limits=replace(SLOW.limits, running_tasks=2))
    async with start_reloading(region, upstreams=upstreams) as reloading:
        async with asyncio.TaskGroup() as group:
            first = [group.create_task(reloading.harness.edit(f"first {i}")) for i in range(2)]
            await reloading.harness.until("RUNNING", "first 1")
            renamed = {**upstreams["beijing-main"], "account": "acme-cn"}
            reloading.reload(upstreams={"renamed": renamed})
            second = [group.create_task(reloading.harness.edit(f"second {i}")) for i in range(3)]
        books = await reloading.harness.books()

        assert all(pictures_of(edit.result()) for edit in (*first, *second))
        assert len(books["tasks"]) == 5
        throttled = {"region": "beijing", "operation": "submit"}
        assert reloading.metric("upstream_throttled_total", **throttled) == 0


@pytest.mark.parametrize(
    ("accounts", "complaint"),
    [
        (("one", "one"), "upstreams.a.account: keys of the accounts a and b would be of one"),
        (("a", "b"), ""),
    ],
)
async def test_accounts_are_not_joined(accounts: tuple[str, str], complaint: str) -> None:
    """Two equal prompts could be open in one account otherwise; only a restart joins them."""
    upstreams = {
        "a": {"region": "beijing", "key": "env:KEY"},
        "b": {"region": "beijing", "key": "env:OTHER"},
    }
    async with start_reloading(upstreams=upstreams) as reloading:
        joined = {
            name: {**table, "account": account}
            for (name, table), account in zip(upstreams.items(), accounts, strict=True)
        }
        if complaint:
            with pytest.raises(ConfigError, match=complaint):
                reloading.reload(upstreams=joined)
        else:
            reloading.reload(upstreams=joined)

        assert (await reloading.harness.edit()).status_code == 200


async def test_accounts_are_not_divided() -> None:
    """Nor are the keys of one account given to two."""
    upstreams = {
        "a": {"region": "beijing", "key": "env:KEY", "account": "alibaba"},
        "b": {"region": "beijing", "key": "env:SECOND", "account": "alibaba"},
    }
    async with start_reloading(upstreams=upstreams) as reloading:
        divided = {**upstreams, "b": {**upstreams["b"], "account": "other"}}

        with pytest.raises(ConfigError, match=r"of alibaba and other from now on"):
            reloading.reload(upstreams=divided)


async def test_limits_of_an_account() -> None:
    """More tasks run as soon as the config says so, those that wait among them; fewer later."""
    upstreams = {
        "beijing-main": {
            "region": "beijing",
            "key": "env:KEY",
            "running_tasks": 1,
            "pending_ahead": 0,
        }
    }
    async with start_reloading(SLOW, upstreams=upstreams) as reloading:
        async with asyncio.TaskGroup() as group:
            edits = [group.create_task(reloading.harness.edit(f"edit {i}")) for i in range(4)]
            await reloading.harness.until("RUNNING")
            narrow = await made(reloading)
            reloading.reload(upstreams=reloading.upstream(running_tasks=3, polls_per_second=10))
            await asyncio.sleep(5.0)
            wide = await made(reloading)
            reloading.reload(upstreams=reloading.upstream(running_tasks=1))
            await asyncio.sleep(5.0)
            narrowed = await made(reloading)

        assert all(pictures_of(edit.result()) for edit in edits)
        assert (narrow, wide, narrowed) == (1, 3, 3)


async def test_limits_of_a_tenant() -> None:
    """max_waiting and max_running hold for what comes, and for what waits already."""
    async with start_reloading(
        SLOW,
        tenants={"acme": {"region": "beijing", "keys": [hashed(KEY)], "max_running": 1}},
    ) as reloading:
        async with asyncio.TaskGroup() as group:
            edits = [group.create_task(reloading.harness.edit(f"edit {i}")) for i in range(3)]
            await reloading.harness.until("RUNNING")
            reloading.reload(tenants=reloading.tenant(max_waiting=2))
            full = await reloading.harness.edit("one too many")
            reloading.reload(tenants=reloading.tenant(max_waiting=2, max_running=3))
            await asyncio.sleep(5.0)
            running = await made(reloading)

        assert all(pictures_of(edit.result()) for edit in edits)
        assert full.status_code == 429
        assert running == 3


async def test_a_tenant_moves_to_another_region() -> None:
    """Its running edits end where they run; the next one is made in the new region."""
    singapore = replace(PLAIN, region="singapore", accounts={"x": (OTHER,)})
    async with start_reloading(REGION, singapore) as reloading:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(reloading.harness.edit("first"))
            await reloading.harness.until("RUNNING", "first")
            reloading.reload(
                {**ENVIRON, "KEY2": OTHER},
                upstreams={
                    **reloading.values["upstreams"],
                    "singapore-main": {"region": "singapore", "key": "env:OTHER"},
                },
                tenants=reloading.tenant(region="singapore"),
            )
            second = await reloading.harness.edit("second")

        regions = [it.headers["x-wan-region"] for it in (first.result(), second)]
        assert regions == ["beijing", "singapore"]


async def test_a_moved_address() -> None:
    """A task is fetched where it was made, unless the new address is said to be the same region."""
    async with start_reloading() as reloading:
        url = reloading.harness.regions["beijing"]
        moved = url.replace("127.0.0.1", "localhost")
        region = {"base_url": f"{moved}/api/v1", "result_hosts": ["127.0.0.1", "localhost"]}
        async with asyncio.TaskGroup() as group:
            first = group.create_task(reloading.harness.edit("first"))
            await reloading.harness.until("RUNNING", "first")
            with capture_logs() as log:
                reloading.reload(regions={"beijing": region})
                await first
            reloading.reload(regions={"beijing": {**region, "previous": [f"{url}/api/v1"]}})

        assert len(pictures_of(first.result())) == 1
        warnings = [line for line in log if line["event"] == "restart_would_be_refused"]
        assert ["base_url" in line["reason"] for line in warnings] == [True]


async def test_a_promised_edit_of_a_tenant_that_is_removed(tmp_path: Path) -> None:
    """What was accepted with 202 is made, though nobody can ask for it at the moment."""
    upstreams = {
        "beijing-main": {
            "region": "beijing",
            "key": "env:KEY",
            "running_tasks": 1,
            "pending_ahead": 0,
        }
    }
    async with start_reloading(
        state={"path": str(tmp_path / "gateway.db")}, upstreams=upstreams
    ) as reloading:
        tenants = reloading.values["tenants"]
        promised = [
            await reloading.harness.edit(f"edit {i}", headers={"prefer": "respond-async"})
            for i in range(2)
        ]
        with capture_logs() as log:
            reloading.reload(
                tenants={"other": {"region": "beijing", "keys": ["sha256:" + "0" * 64]}}
            )
            await reloading.harness.until("SUCCEEDED", "edit 1")
        reloading.reload(tenants=tenants)
        place = f"/v1/images/edits/{promised[1].json()['id']}"

        async def is_fetched() -> bool:
            return (await reloading.http.get(place)).status_code == 200

        await eventually(is_fetched)

        reasons = [it["reason"] for it in log if it["event"] == "restart_would_be_refused"]
        assert reasons
        assert KEY not in str(log)
