import asyncio
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.types import Message
from structlog.testing import capture_logs

from gateway.app import build, create_app
from gateway.config import Config
from gateway.config.build import build as build_config
from gateway.domain.clock import SystemClock
from gateway.domain.record import EditState
from gateway.ledger.errors import LedgerError
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite_schema import only_holder
from tests.fast_time import FAST_TIME
from tests.harness import KEY, Harness, hashed, pictures_of, start_harness
from tests.ledger.records import EDIT, FIRST

pytestmark = pytest.mark.anyio

FAMILIES = [
    "http_requests",
    "http_request_duration_seconds",
    "http_requests_in_flight",
    "http_request_body_bytes",
    "http_response_body_bytes",
    "http_late_errors",
    "client_disconnects",
    "client_retries",
    "client_patience_seconds",
    "gateway_overhead_seconds",
    "queue_depth",
    "queue_oldest_wait_seconds",
    "queue_wait_seconds",
    "queue_rejections",
    "inflight_body_bytes",
    "inflight_body_limit_bytes",
    "tasks",
    "tasks_in_flight",
    "task_duration_seconds",
    "task_phase_seconds",
    "task_failures",
    "poll_detection_lag_seconds",
    "polls_per_task",
    "upstream_requests",
    "upstream_request_duration_seconds",
    "upstream_retries",
    "upstream_throttled",
    "upstream_poll_budget_ratio",
    "upstream_key_up",
    "images",
    "image_cost_estimate",
    "intents_expired",
    "stray_tasks",
    "undelivered_tasks",
    "recovered_tasks",
    "recoverable_tasks",
    "recoverable_oldest_seconds",
    "duplicates_prevented",
    "idempotency_requests",
    "results",
    "results_written_bytes",
    "results_stored",
    "results_stored_bytes",
    "result_store_failures",
    "build_info",
    "ready",
    "draining",
    "config_info",
    "shard_held",
    "shard_takeovers",
    "peers_up",
    "config_differs",
    "config_reloads",
    "config_last_reload_successful",
    "config_last_reload_success_timestamp_seconds",
    "event_loop_lag_seconds",
    "journal_entries",
    "ledger_write_failures",
    "log_lines_dropped",
    "metrics_label_overflow",
]
"""The contract with dashboards (docs/metrics.md), less what a reload and a breaker would count."""


HERMETIC = """
import os, sys

def deny(event, args):
    if event.startswith(("socket.", "subprocess.", "sqlite3.", "os.mkdir", "os.remove")):
        raise SystemExit(f"{event} {args}")
    if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise SystemExit(f"{event} {args}")

sys.dont_write_bytecode = True
sys.addaudithook(deny)
import threading
from gateway.app import build
from gateway.config import config_from_environ
build(config_from_environ({"DASHSCOPE_API_KEY": "sk-x"}))
print(threading.active_count(), "uvicorn" in sys.modules, "gateway.sandbox" in sys.modules)
"""


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return FAST_TIME


def a_config(**more: Mapping[str, Any]) -> Config:
    values: dict[str, Any] = {
        "state": {"path": "memory"},
        "upstreams": {
            "cn": {"region": "beijing", "key": "env:KEY"},
            "intl": {"region": "singapore", "key": "env:KEY"},
        },
        "tenants": {
            "acme": {"region": "beijing", "keys": [hashed(KEY)]},
            "globex": {"region": "singapore", "keys": [hashed("wk-globex")]},
        },
    }
    return build_config("test", values | more, {"KEY": "sk-canary", "TOKEN": "secret"})


@asynccontextmanager
async def _opened(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as http,
    ):
        yield http


async def _exposed(http: httpx.AsyncClient) -> str:
    return (await http.get("/metrics")).text


def test_neither_import_nor_build_touches_anything(tmp_path: Path) -> None:
    """No socket, no file, no thread, no process before the lifespan begins."""
    done = subprocess.run(
        [sys.executable, "-c", HERMETIC],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={"HOME": str(tmp_path)},
    )

    assert (done.returncode, done.stderr, done.stdout) == (0, "", "1 False False\n")


async def test_a_server_opens_it_by_the_lifespan() -> None:
    """A server that speaks ASGI's lifespan opens the gateway at its start, and closes it."""
    gateway = build(a_config())
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    outgoing: asyncio.Queue[Message] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            gateway.app({"type": "lifespan", "state": {}}, incoming.get, outgoing.put)
        )
        await incoming.put({"type": "lifespan.startup"})
        assert (await outgoing.get())["type"] == "lifespan.startup.complete"
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(gateway.app), base_url="http://gateway"
        ) as http:
            assert (await http.get("/readyz")).status_code == 200
        await incoming.put({"type": "lifespan.shutdown"})
        assert (await outgoing.get())["type"] == "lifespan.shutdown.complete"


async def test_every_family_is_exposed() -> None:
    """A dashboard finds every name from the start, and no other of ours."""
    async with _opened(create_app(a_config())) as http:
        families = [it.name for it in text_string_to_metric_families(await _exposed(http))]

    ours = [name for name in families if name.startswith("wan_gateway_")]
    assert sorted(ours) == sorted(f"wan_gateway_{name}" for name in FAMILIES)
    assert {"process_resident_memory_bytes", "python_gc_collections"} <= set(families)


async def test_what_is_known_from_the_start() -> None:
    """Readiness, keys, the budget and which config runs are told before the first edit."""
    async with _opened(create_app(a_config())) as http:
        exposed = await _exposed(http)

    for sample in (
        "wan_gateway_ready 1.0",
        "wan_gateway_draining 0.0",
        "wan_gateway_inflight_body_limit_bytes 5.36870912e+08",
        'wan_gateway_upstream_key_up{key="cn",region="beijing"} 1.0',
        'wan_gateway_queue_oldest_wait_seconds{region="singapore"} 0.0',
        'wan_gateway_journal_entries{state="open"} 0.0',
        "wan_gateway_recoverable_tasks 0.0",
    ):
        assert f"\n{sample}\n" in exposed


async def _hash_of(config: Config) -> str:
    async with _opened(create_app(config)) as http:
        exposed = await _exposed(http)
    return exposed.partition('config_info{hash="')[2].partition('"')[0]


async def test_the_config_has_a_name() -> None:
    """Every process of one config tells the same hash; of another config or key, another."""
    hashes = [
        await _hash_of(config)
        for config in (
            a_config(),
            a_config(),
            a_config(server={"port": 9}),
            a_config(tenants={"acme": {"region": "beijing", "keys": [hashed("other")]}}),
        )
    ]

    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    assert all(len(name) == 12 for name in hashes)
    assert hashes[0] == "90e64bdbaab8"


async def test_draining_is_seen_everywhere() -> None:
    """One lever turns readiness, metrics and new edits; nobody is connected, so it is not busy."""
    gateway = build(a_config())
    async with _opened(gateway.app) as http:
        gateway.drain(60.0)
        ready = await http.get("/readyz")
        exposed = await _exposed(http)
        refused = await http.post(
            "/v1/images/edits",
            json={"prompt": "a hat", "images": [{"image_url": "https://a.test/a.png"}]},
            headers={"authorization": f"Bearer {KEY}"},
        )

    assert ready.status_code == 503
    assert "\nwan_gateway_ready 0.0\n" in exposed
    assert "\nwan_gateway_draining 1.0\n" in exposed
    assert refused.json()["error"]["code"] == "server_is_draining"
    assert not gateway.busy


async def test_the_desk_drains_too() -> None:
    """An edit that was let in a moment before the signal is refused where it would begin."""
    gateway = build(a_config())

    gateway.drain(60.0)

    assert gateway.service.draining


async def test_a_slash_too_many_is_no_redirect() -> None:
    """A POST is answered where it came: some SDKs follow with a GET, or without the key."""
    async with _opened(create_app(a_config())) as http:
        answer = await http.post("/v1/images/edits/", headers={"authorization": f"Bearer {KEY}"})

    assert not answer.is_redirect


def _decoding() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("imaging")]


async def test_its_threads_end_with_it() -> None:
    """What decodes pictures is gone when the lifespan is over."""
    before = set(_decoding())
    async with start_harness() as harness:
        await harness.edit(picture=(Path(__file__).parent / "data/pictures/wide.jpg").read_bytes())
        within = set(_decoding()) - before

    assert within
    for thread in within:
        thread.join(60)
        assert not thread.is_alive()


async def test_models_are_those_of_the_config() -> None:
    """DashScope's name comes first, then every alias."""
    config = a_config(models={"aliases": {"our-editor": "wan2.5-i2i-preview"}})
    async with _opened(create_app(config)) as http:
        answer = await http.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})

    names = [model["id"] for model in answer.json()["data"]]
    assert names[0] == "wan2.5-i2i-preview"
    assert {"our-editor", "gpt-image-1"} <= set(names)


async def test_an_open_tenant_needs_no_key() -> None:
    """The config of one variable serves whoever is on this machine."""
    config = a_config(tenants={"default": {"region": "beijing", "open": True}})
    async with _opened(create_app(config)) as http:
        answer = await http.get("/v1/models", headers={"host": "localhost:8080"})
        page = {"host": "localhost:8080", "origin": "https://evil.example"}
        refused = await http.get("/v1/models", headers=page)

    assert answer.status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        pytest.param({}, {"_all"}, id="anyone's"),
        pytest.param({"token": "env:TOKEN"}, {"acme", "beta"}, id="with a token"),
    ],
)
async def test_tenants_in_metrics(metrics: dict[str, str], shown: set[str]) -> None:
    """One of several tenants does not read the others' names; whoever has the token does."""
    tenants = {
        name: {"region": "beijing", "keys": [hashed(f"key-{name}")]} for name in ("acme", "beta")
    }
    config = a_config(tenants=tenants, metrics=metrics)
    async with _opened(create_app(config)) as http:
        for name in tenants:
            await http.get("/v1/models", headers={"authorization": f"Bearer key-{name}"})
        page = (await http.get("/metrics", headers={"authorization": "Bearer secret"})).text

    rows = re.findall(r'http_requests_total\{.*route="/v1/models",tenant="(.*)"\} (.*)', page)
    assert {tenant for tenant, _ in rows} == shown
    assert sum(float(value) for _, value in rows) == 2
    assert ("acme" in page) is ("acme" in shown)


async def test_a_ledger_in_use_stops_the_start(tmp_path: Path) -> None:
    """Opening raises what the server tells in one line; the log does not tell it again."""
    file = tmp_path / "gateway.db"
    app = create_app(a_config(state={"path": str(file)}))
    with only_holder(file), capture_logs() as lines, pytest.raises(LedgerError):
        async with _opened(app):
            pass

    assert lines == []


def _value(exposed: str, sample: str) -> float:
    """Return the value of a series, spelled as it is exposed."""
    rows = [line.rpartition(" ")[2] for line in exposed.splitlines() if line.startswith(sample)]
    return float(rows[0]) if rows else 0.0


async def _until(harness: Harness, sample: str, value: float) -> None:
    while _value(await _exposed(harness.http), sample) != value:
        await harness.gateway.clock.sleep(0.5)


async def test_an_edit_moves_the_numbers() -> None:
    """Money, phases and the ledger's count of one edit reach /metrics; its phases add up."""
    async with start_harness() as harness:
        answer = await harness.edit()
        await _until(harness, 'wan_gateway_journal_entries{state="succeeded"}', 1)
        exposed = await _exposed(harness.http)

    assert len(pictures_of(answer)) == 1
    who = 'model="wan2.5-i2i-preview",region="beijing",tenant="acme"'
    made = f'wan_gateway_images_total{{disposition="delivered",{who}}}'
    cost = 'wan_gateway_image_cost_estimate_total{currency="CNY",' + who + "}"
    assert _value(exposed, made) == 1
    assert _value(exposed, cost) == 0.2
    whole = _value(exposed, 'wan_gateway_http_request_duration_seconds_sum{code_class="2xx"')
    phases = [
        float(line.rpartition(" ")[2])
        for line in exposed.splitlines()
        if line.startswith("wan_gateway_task_phase_seconds_sum")
    ]
    assert sum(phases) == pytest.approx(whole, abs=0.5)


async def test_pictures_of_an_account_that_is_gone(tmp_path: Path) -> None:
    """Made pictures that no key can fetch stop no start; the operator hears of them."""
    file = tmp_path / "gateway.db"
    epoch = SystemClock().epoch
    async with SqliteLedger(file, sync="normal", epoch=epoch) as ledger:
        await ledger.intend(replace(EDIT, created=epoch()), FIRST)
        await ledger.end_edit(EDIT.edit_id, EditState.SUCCEEDED)

    with capture_logs() as lines:
        async with _opened(create_app(a_config(state={"path": str(file)}))) as http:
            ready = await http.get("/readyz")

    assert ready.status_code == 200
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("pictures_out_of_reach", "warning"),
        ("request", "debug"),
    ]


async def test_a_ledger_that_fails_is_logged(tmp_path: Path) -> None:
    """A ledger that fails is logged with its reason and counted; we live, and are not ready."""
    file = tmp_path / "gateway.db"
    with capture_logs() as lines:
        gateway = build(a_config(state={"path": str(file)}))
        async with _opened(gateway.app) as http:
            with closing(sqlite3.connect(file)) as other:
                other.execute("DROP TABLE edits")
            while not lines:
                await gateway.clock.sleep(0.5)
            ready = await http.get("/readyz")
            lives = await http.get("/healthz")
            exposed = await _exposed(http)

    assert (ready.status_code, ready.json()) == (503, {"status": "ledger_failing"})
    assert lives.status_code == 200
    assert "wan_gateway_ledger_write_failures_total 0" not in exposed
    assert lines[0]["event"] == "ledger_write_failed"
    assert "edits" in lines[0]["reason"]
