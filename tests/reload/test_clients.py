"""What clients see of a reload: keys, tenants, models, limits of requests, CORS, tokens."""

import asyncio
from pathlib import Path

import httpx
import pytest

from gateway.config import ConfigError
from tests.harness import KEY, digest, eventually, hashed, pictures_of
from tests.reload.harness import ENVIRON, ReloadHarness, start_reloading

pytestmark = pytest.mark.anyio

MODELS = "/v1/models"


async def status(reloading: ReloadHarness, key: str, path: str = MODELS) -> int:
    answer = await reloading.http.get(path, headers={"authorization": f"Bearer {key}"})
    return answer.status_code


async def test_a_key_is_added_and_revoked() -> None:
    """A new key is known to the next request; a key that is gone is 401 from the next one on."""
    async with start_reloading() as reloading:
        before = await status(reloading, KEY), await status(reloading, "wk-new")
        reloading.reload(tenants=reloading.tenant(keys=[hashed(KEY), hashed("wk-new")]))
        both = await status(reloading, KEY), await status(reloading, "wk-new")
        reloading.reload(tenants=reloading.tenant(keys=[hashed("wk-new")]))
        after = await status(reloading, KEY), await status(reloading, "wk-new")

    assert (before, both, after) == ((200, 401), (200, 200), (401, 200))


async def test_an_edit_is_fetched_with_the_new_key(tmp_path: Path) -> None:
    """An edit belongs to its tenant: the key that replaced the one it was begun with has it."""
    async with start_reloading(state={"path": str(tmp_path / "gateway.db")}) as reloading:
        begun = await reloading.harness.edit(headers={"prefer": "respond-async"})
        reloading.reload(tenants=reloading.tenant(keys=[hashed("wk-new")]))
        place = f"/v1/images/edits/{begun.json()['id']}"
        old = await reloading.http.get(place)

        async def is_fetched() -> bool:
            return await status(reloading, "wk-new", place) == 200

        await eventually(is_fetched)

    assert begun.status_code == 202
    assert old.status_code == 401


async def test_a_tenant_comes_and_goes() -> None:
    """A tenant that is added edits at once; the edit of one that is removed is still answered."""
    async with start_reloading() as reloading:
        acme = reloading.values["tenants"]["acme"]
        initech = {"region": "beijing", "keys": [hashed("wk-initech")]}
        reloading.reload(tenants={"acme": acme, "initech": initech})
        async with asyncio.TaskGroup() as group:
            edit = group.create_task(
                reloading.harness.edit("of initech", headers={"authorization": "Bearer wk-initech"})
            )
            await reloading.harness.until("RUNNING", "of initech")
            reloading.reload(tenants={"acme": acme})
            gone = await status(reloading, "wk-initech")
        answer = edit.result()

    assert gone == 401
    assert len(pictures_of(answer)) == 1
    images = {"region": "beijing", "model": "wan2.5-i2i-preview", "disposition": "delivered"}
    assert reloading.metric("images_total", tenant="initech", **images) == 1


async def test_settings_of_a_tenant() -> None:
    """fit and strict hold from the next request on."""
    async with start_reloading() as reloading:
        fitted = await reloading.harness.edit(size="2048x1024")
        reloading.reload(tenants=reloading.tenant(fit=False, strict=True))
        unfit = await reloading.harness.edit(size="2048x1024")
        unknown = await reloading.harness.edit(colour="red")

    assert fitted.status_code == 200
    assert (unfit.status_code, unfit.json()["error"]["param"]) == (400, "size")
    assert unknown.json()["error"]["code"] == "unknown_parameter"


async def test_models_and_aliases() -> None:
    """A model, an alias and a tenant's choice hold from the next request on."""
    model = {
        "family": "messages",
        "pixels": [589824, 2073600],
        "edits": True,
        "images": [1, 3],
    }
    async with start_reloading() as reloading:

        async def names() -> set[str]:
            listed = (await reloading.http.get(MODELS)).json()["data"]
            return {it["id"] for it in listed}

        before = await names()
        reloading.reload(models={"mine-1": model, "aliases": {"ours": "wan2.5-i2i-preview"}})
        added = await names() - before
        reloading.reload(models=None, tenants=reloading.tenant(models={"allow": ["wan2.5-*"]}))
        after = await names()
        refused = await reloading.harness.edit(model="ours")

    assert added == {"mine-1", "ours"}
    assert after < before
    assert refused.json()["error"]["param"] == "model"


async def test_limits_of_requests() -> None:
    """max_body_bytes, max_bytes_in_flight and max_wait_seconds hold from the next request on."""
    async with start_reloading() as reloading:
        reloading.reload(server={"port": 0, "max_body_bytes": 2048, "max_bytes_in_flight": 4096})
        large = await reloading.harness.edit(prompt="a" * 2000)
        limit = reloading.metric("inflight_body_limit_bytes")
        reloading.reload(server={"port": 0, "max_wait_seconds": 0.5})
        late = await reloading.harness.edit()

    assert large.status_code == 413
    assert limit == 4096
    assert late.json()["error"]["code"] == "still_running"


async def test_cost_header_and_prices() -> None:
    """What an edit cost is told by the prices in force."""
    async with start_reloading() as reloading:
        silent = await reloading.harness.edit()
        reloading.reload(
            server={"port": 0, "cost_header": True},
            prices={"beijing": {"wan2.5-i2i-preview": "0.35 CNY"}},
        )
        priced = await reloading.harness.edit("another")

    assert "x-wan-cost" not in silent.headers
    assert priced.headers["x-wan-cost"] == "0.35 CNY"


async def test_cors() -> None:
    """Pages of an origin that is added may call from the next request on."""
    page = {"origin": "https://app.example"}
    async with start_reloading() as reloading:
        before = await reloading.http.get(MODELS, headers=page)
        reloading.reload(server={"port": 0, "cors_origins": ["https://app.example"]})
        after = await reloading.http.get(MODELS, headers=page)

    assert "access-control-allow-origin" not in before.headers
    assert after.headers["access-control-allow-origin"] == "https://app.example"


async def test_the_token_of_the_metrics() -> None:
    """A token that was renewed where it is kept opens /metrics, and the old one does not."""
    async with start_reloading(metrics={"token": "env:TOKEN"}) as reloading:
        changes = reloading.reload({**ENVIRON, "TOKEN": "renewed"})
        old = await status(reloading, ENVIRON["TOKEN"], "/metrics")
        new = await status(reloading, "renewed", "/metrics")

    assert changes.changed == ("metrics.token",)
    assert (old, new) == (401, 200)


async def test_a_port_of_the_metrics() -> None:
    """Where they have a port of their own the renewed token opens them there."""
    async with start_reloading(metrics={"port": 9, "token": "env:TOKEN"}) as reloading:
        reloading.reload({**ENVIRON, "TOKEN": "renewed"})
        app = reloading.harness.gateway.metrics_app
        assert app is not None
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://metrics"
        ) as http:
            codes = [
                (await http.get("/metrics", headers={"authorization": f"Bearer {it}"})).status_code
                for it in (ENVIRON["TOKEN"], "renewed")
            ]

    assert codes == [401, 200]


async def test_the_token_of_the_dashboard() -> None:
    """A renewed token ends the streams that the old one opened, and shows the config in force."""
    old = {"authorization": f"Bearer {ENVIRON['TOKEN']}"}
    new = {"authorization": f"Bearer {ENVIRON['NEW_TOKEN']}"}
    async with start_reloading(dashboard={"on": True, "token": "env:TOKEN"}) as reloading:
        async with reloading.http.stream("GET", "/dashboard/events", headers=old) as stream:
            lines = stream.aiter_lines()
            first = await anext(lines)
            reloading.reload(
                dashboard={"on": True, "token": "env:NEW_TOKEN"},
                tenants=reloading.tenant(weight=7),
            )
            rest = [line async for line in lines]
        refused = await reloading.http.get("/dashboard/snapshot", headers=old)
        shown = await reloading.http.get("/dashboard/config", headers=new)

    assert first == "retry: 2000"
    assert "event: end" not in rest
    assert refused.status_code == 401
    assert "7" in shown.text


async def test_results(tmp_path: Path) -> None:
    """URLs are signed with the secret in force; those of the one before it still open."""
    results = {
        "store": f"folder:{tmp_path}",
        "public_url": "http://one.example",
        "secret": "env:TOKEN",
    }
    async with start_reloading(results=results) as reloading:
        first = await reloading.harness.edit(response_format="url")
        reloading.reload(
            results={
                **results,
                "public_url": "http://two.example",
                "secret": "env:NEW_TOKEN",
                "previous_secret": "env:TOKEN",
                "keep_hours": 1,
            }
        )
        second = await reloading.harness.edit("another", response_format="url")
        urls = [answer.json()["data"][0]["url"] for answer in (first, second)]
        seen = [await reloading.http.get(url.partition(".example")[2]) for url in urls]

    assert [url[:18] for url in urls] == ["http://one.example", "http://two.example"]
    assert [answer.status_code for answer in seen] == [200, 200]
    assert digest(seen[0].content) != digest(seen[1].content)


async def test_the_metrics_of_a_reload() -> None:
    """Reloads are counted by their result; the hash is that of the config in force."""
    async with start_reloading(metrics={"token": "env:TOKEN"}) as reloading:
        token = {"authorization": f"Bearer {ENVIRON['TOKEN']}"}

        async def shown() -> str:
            return (await reloading.http.get("/metrics", headers=token)).text

        def hashes(text: str) -> list[str]:
            return [line for line in text.splitlines() if "config_info{" in line]

        before = hashes(await shown())
        reloading.reload(tenants=reloading.tenant(weight=2))
        after = hashes(await shown())

    assert len(before) == len(after) == 1
    assert before != after
    assert reloading.metric("config_reloads_total", result="success") == 1
    assert reloading.metric("config_last_reload_success_timestamp_seconds")


async def test_what_needs_a_restart_is_refused() -> None:
    """The config in force stays, whatever else the file changes."""
    async with start_reloading() as reloading:
        with pytest.raises(ConfigError, match=r"^test: server\.port: cannot be changed"):
            reloading.reload(server={"port": 9}, tenants=reloading.tenant(keys=[hashed("wk-new")]))

        assert await status(reloading, KEY) == 200
        assert await status(reloading, "wk-new") == 401


async def test_while_it_drains() -> None:
    """A gateway that is about to stop takes no config any more."""
    async with start_reloading() as reloading:
        reloading.harness.gateway.drain(1.0)

        with pytest.raises(ConfigError, match="about to stop"):
            reloading.reload(tenants=reloading.tenant(weight=2))
