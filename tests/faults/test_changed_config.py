"""A config that changes under open edits: whoever is configured takes them over, or it says no."""

import json
import re
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.app import create_app
from gateway.commands import check
from gateway.config import ConfigError
from gateway.config.build import build
from gateway.domain.clock import Clock
from gateway.edits.takeover import OrphanedEditsError
from gateway.ledger.reading import list_unfinished
from gateway.sandbox import Constant
from tests.harness import (
    KEY,
    PLAIN,
    direct,
    eventually,
    hashed,
    photo,
    pictures_of,
    region,
    serving_gateway,
)
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio

KEYS = ("sk-first", "sk-second")
ENVIRON = {"FIRST": KEYS[0], "SECOND": KEYS[1], "OTHER": "sk-other"}
REGION = replace(
    PLAIN,
    accounts={"alibaba": KEYS, "another": ("sk-other",)},
    latency=Constant(20.0),
)
MAIN = {"region": "beijing", "key": "env:FIRST"}


PATIENCE = 3600.0


@dataclass(frozen=True)
class ChangedConfigHarness:
    """A region, a ledger, and gateways that come and go between them."""

    url: str
    folder: Path
    clock: Clock

    def tables(self, upstreams: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "state": {"path": str(self.folder / "gateway.db")},
            "regions": {"beijing": {"base_url": f"{self.url}/api/v1"}},
            "upstreams": dict(upstreams),
            "tenants": {"acme": {"region": "beijing", "keys": [hashed(KEY)]}},
            **more,
        }

    @asynccontextmanager
    async def gateway(
        self, tables: Mapping[str, Any], *, abandon: bool = False
    ) -> AsyncIterator[httpx.AsyncClient]:
        config = replace(build("g.toml", tables, ENVIRON), abandon=abandon)
        async with serving_gateway(config, self.clock) as (_, _, url):
            key = {"authorization": f"Bearer {KEY}"}
            async with httpx.AsyncClient(
                base_url=url, headers=key, timeout=PATIENCE, trust_env=False
            ) as http:
                yield http

    async def refused(self, tables: Mapping[str, Any]) -> str:
        """Return why no gateway starts with *tables*."""
        app = create_app(build("g.toml", tables, ENVIRON), clock=self.clock, transports=direct)
        with pytest.raises(OrphanedEditsError) as refused:
            async with app.router.lifespan_context(app):
                raise AssertionError
        return str(refused.value)

    async def tasks(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            books: dict[str, Any] = (await http.get(f"{self.url}/_sandbox/books")).json()
        return list(books["tasks"])

    def check(self, tables: Mapping[str, Any]) -> int:
        file = self.folder / "g.toml"
        file.write_text(_toml(tables))
        return check.run(Namespace(config=file), ENVIRON)


def _toml(values: Mapping[str, Any], path: str = "") -> str:
    own = [f"{key} = {json.dumps(it)}" for key, it in values.items() if not isinstance(it, dict)]
    below = [
        _toml(it, f"{path}.{key}" if path else key)
        for key, it in values.items()
        if isinstance(it, dict)
    ]
    return "\n".join([f"[{path}]" if path else "", *own, *below])


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[ChangedConfigHarness]:
    clock = WarpClock()
    async with region(REGION, clock) as url:
        yield ChangedConfigHarness(url, tmp_path, clock)


async def edit(
    http: httpx.AsyncClient, *, patience: float = 300, retry: int = 0, key: str | None = None
) -> httpx.Response:
    return await http.post(
        "/v1/images/edits",
        data={"prompt": "make it sepia", "size": "768x768"},
        files={"image": ("a.png", photo(), "image/png")},
        headers={
            "x-stainless-retry-count": str(retry),
            "x-stainless-timeout": str(patience),
            **({} if key is None else {"idempotency-key": key}),
        },
    )


async def leave_open(
    harness: ChangedConfigHarness, tables: Mapping[str, Any], key: str | None = None
) -> str:
    """Have an edit whose task runs on when its gateway has ended; return its id."""
    async with harness.gateway(tables) as http:
        answer = await edit(http, patience=4, key=key)
    assert answer.json()["error"]["code"] == "still_running"
    return answer.headers["x-wan-edit-id"]


ACCOUNT = {"account": "acme-cn"}
CHANGES = [
    pytest.param({"main": MAIN}, {"renamed": MAIN}, id="upstream-renamed"),
    pytest.param({"main": MAIN}, {"main": MAIN | ACCOUNT}, id="account-named"),
    pytest.param({"main": MAIN | ACCOUNT}, {"new": MAIN | {"account": "b"}}, id="account-renamed"),
    pytest.param({"main": MAIN}, {"main": MAIN | {"key": "env:SECOND"}}, id="key-rotated"),
    pytest.param(
        {"main": MAIN | ACCOUNT},
        {"new": {"region": "beijing", "key": "env:SECOND"} | ACCOUNT},
        id="replaced-by-another-of-its-account",
    ),
    pytest.param(
        {"main": MAIN},
        {"new": {"region": "beijing", "key": "env:SECOND", "account": "main"}},
        id="replaced-and-said-to-be-of-its-account",
    ),
    pytest.param(
        {"main": MAIN, "b": {"region": "beijing", "key": "env:SECOND"}},
        {
            "other": {"region": "beijing", "key": "env:OTHER"},
            "b": {"region": "beijing", "key": "env:SECOND", "account": "main"},
        },
        id="one-of-several",
    ),
]


@pytest.mark.parametrize("key", [None, "order-1"])
@pytest.mark.parametrize(("before", "after"), CHANGES)
async def test_a_key_of_the_account_takes_over(
    harness: ChangedConfigHarness,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    key: str | None,
) -> None:
    """The retry gets the picture of the one task, whatever upstream and account are called now."""
    edit_id = await leave_open(harness, harness.tables(before), key)

    async with harness.gateway(harness.tables(after)) as http:
        answer = await edit(http, retry=1, key=key)
        replay = await edit(http, key=key) if key else answer

    assert len(pictures_of(answer)) == 1
    assert answer.headers["x-wan-edit-id"] == edit_id
    assert replay.headers["x-wan-edit-id"] == edit_id
    assert len(await harness.tasks()) == 1


async def test_an_upstream_that_the_tenant_does_not_use_any_more(
    harness: ChangedConfigHarness,
) -> None:
    """Its task is followed with the key that is still configured for others."""
    other = {"region": "beijing", "key": "env:OTHER"}
    await leave_open(harness, harness.tables({"main": MAIN}))
    after = harness.tables({"main": MAIN, "other": other})
    after["tenants"]["acme"]["upstreams"] = ["other"]

    async with harness.gateway(after) as http:
        answer = await edit(http, retry=1)

    assert len(pictures_of(answer)) == 1
    assert len(await harness.tasks()) == 1


async def test_a_tenant_that_is_gone(harness: ChangedConfigHarness) -> None:
    """Its edit is carried to its end and kept; no other tenant can have it."""
    edit_id = await leave_open(harness, harness.tables({"main": MAIN}))
    renamed = {"acme-2": {"region": "beijing", "keys": [hashed(KEY)]}}

    async with harness.gateway(harness.tables({"main": MAIN}, tenants=renamed)) as http:

        async def ended() -> bool:
            return list_unfinished(harness.folder / "gateway.db")[0].state == "succeeded"

        await eventually(ended)
        answer = await http.get(f"/v1/images/edits/{edit_id}")
        metrics = (await http.get("/metrics")).text

    kept = list_unfinished(harness.folder / "gateway.db")
    assert answer.status_code == 404
    assert [(record.edit_id, record.tenant) for record in kept] == [(edit_id, "acme")]
    assert "wan_gateway_metrics_label_overflow_total" in metrics
    assert not re.search(r"label_overflow_total\{[^}]*\} [1-9]", metrics)
    assert 'outcome="succeeded",region="beijing",tenant="_unknown"} 1.0' in metrics


NEW = {"new": {"region": "beijing", "key": "env:OTHER"}}


async def test_a_start_that_would_orphan_open_edits(
    harness: ChangedConfigHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused with their number and what to do; so says check, and then all is well again."""
    await leave_open(harness, harness.tables({"main": MAIN}))
    says = (
        "upstreams: 1 open edit of the account main in beijing could not be followed: no "
        "upstream has a key of it; put its upstream back until they have ended, or set account "
        '= "main" where an upstream of beijing has a key of it, or end them as lost by serve '
        "--abandon"
    )

    refused = await harness.refused(harness.tables(NEW))
    with pytest.raises(ConfigError) as checked:
        harness.check(harness.tables(NEW))
    async with harness.gateway(harness.tables({"main": MAIN})) as http:
        with pytest.raises(ConfigError) as beside:
            harness.check(harness.tables(NEW))
        answer = await edit(http, retry=1)
    after = harness.check(harness.tables(NEW))

    file = harness.folder / "g.toml"
    assert refused == says
    assert str(checked.value) == str(beside.value) == f"{file}: {says}"
    assert len(pictures_of(answer)) == 1
    assert after == 0
    assert "warning:" not in capsys.readouterr().out.replace("warning: keys of", "")


async def test_several_accounts_are_gone(harness: ChangedConfigHarness) -> None:
    """The largest is named, the others are counted."""
    both = {"main": MAIN, "second": {"region": "beijing", "key": "env:SECOND"}}
    tables = harness.tables(both)
    await leave_open(harness, tables)
    tables["tenants"]["acme"]["upstreams"] = ["second"]
    async with harness.gateway(tables) as http:
        await edit(http, patience=4, key="other")

    text = await harness.refused(harness.tables(NEW))

    assert re.search(r"2 open edits of the account \w+ in beijing \(and", text)


async def test_abandoned(harness: ChangedConfigHarness) -> None:
    """With --abandon it starts, and the edit ends in doubt: told once, paid once."""
    edit_id = await leave_open(harness, harness.tables({"main": MAIN}))

    async with harness.gateway(harness.tables(NEW), abandon=True) as http:
        answer = await edit(http, retry=1)
        looked_at = await http.get(f"/v1/images/edits/{edit_id}")
    async with harness.gateway(harness.tables({"main": MAIN})) as http:
        later = await http.get(f"/v1/images/edits/{edit_id}")

    assert answer.json()["error"]["code"] == "upstream_task_lost"
    assert answer.headers["x-should-retry"] == "false"
    assert {looked_at.status_code, later.status_code} == {500}
    assert len(await harness.tasks()) == 1


async def test_pictures_out_of_reach(
    harness: ChangedConfigHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures that nobody fetched stop no start: check tells, and nothing is paid twice."""
    await leave_open(harness, harness.tables({"main": MAIN}))
    async with harness.gateway(harness.tables({"main": MAIN})) as http:

        async def ended() -> bool:
            return list_unfinished(harness.folder / "gateway.db")[0].state == "succeeded"

        await eventually(ended)
    checked = harness.check(harness.tables(NEW))
    async with harness.gateway(harness.tables(NEW)) as http:
        answer = await edit(http, retry=1)
    async with harness.gateway(harness.tables({"main": MAIN})) as http:
        again = await edit(http, retry=2)

    assert checked == 0
    assert "warning: the pictures of 1 edit could not be fetched" in capsys.readouterr().out
    assert answer.json()["error"]["code"] == "result_unavailable"
    assert answer.headers["x-should-retry"] == "false"
    assert len(pictures_of(again)) == 1
    assert len(await harness.tasks()) == 1


async def test_pictures_of_a_tenant_that_is_gone(
    harness: ChangedConfigHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    """A renamed tenant cannot fetch what it paid for by its old name: check and the start tell."""
    tables = harness.tables({"main": MAIN})
    renamed = {**tables, "tenants": {"other": tables["tenants"]["acme"]}}
    edit_id = await leave_open(harness, tables)
    checked = harness.check(renamed)
    printed = capsys.readouterr().out
    with capture_logs() as lines:
        async with harness.gateway(renamed) as http:
            started = [line["event"] for line in lines]
            gone = await http.get(f"/v1/images/edits/{edit_id}")
    async with harness.gateway(tables) as http:
        answer = await edit(http, retry=1)

    assert checked == 0
    assert "warning: the pictures of 1 edit could not be fetched any more: put" in printed
    assert started.count("pictures_out_of_reach") == 1
    assert gone.status_code == 404
    assert len(pictures_of(answer)) == 1
    assert len(await harness.tasks()) == 1


async def test_another_address(harness: ChangedConfigHarness) -> None:
    """A base_url that is another place is refused; said to be the same region, it takes over."""
    tables = harness.tables({"main": MAIN})
    await leave_open(harness, tables)
    other = f"{harness.url.replace('127.0.0.1', 'localhost')}/api/v1"
    moved = harness.tables({"main": MAIN}, regions={"beijing": {"base_url": other}})
    fields = {"base_url": other, "previous": [f"{harness.url}/api/v1"]}

    refused = await harness.refused(moved)
    async with harness.gateway(harness.tables({"main": MAIN}, regions={"beijing": fields})) as http:
        answer = await edit(http, retry=1)

    assert refused == (
        "regions.beijing.base_url: 1 open edit of the account main could not be followed: "
        f"it was {harness.url}/api/v1 at the submit; put it back until they have ended, or "
        f'set previous = ["{harness.url}/api/v1"] if both are the same region, or end them as '
        "lost by serve --abandon"
    )
    assert len(pictures_of(answer)) == 1
    assert len(await harness.tasks()) == 1


async def test_a_ledger_that_cannot_be_read(
    harness: ChangedConfigHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    """Check says so, and what the config means all the same."""
    (harness.folder / "gateway.db").write_text("x" * 200)

    assert harness.check(harness.tables({"main": MAIN})) == 0
    assert "warning: the ledger cannot be read" in capsys.readouterr().out
