"""What has to happen for a series to rise: edits, faults and clients, before a whole gateway."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, generate_latest

from gateway.cluster.owners import Owners
from gateway.cluster.shard_host import ShardHost
from gateway.cluster.shards import Shard
from gateway.config.build import build
from gateway.observe.metrics import ConfiguredNames, Metrics, configured_names
from gateway.results.folder import FolderStore
from gateway.results.keeper import ResultKeeper
from gateway.sandbox import AccountLimits, Answer, Constant, Cut, Drop, Fault, Hang
from tests.edits.harness import EditHarness
from tests.edits.harness import leave_after as leave_edit_after
from tests.fake_stores import FakeShardLedger
from tests.fakes import Run
from tests.harness import KEY as CLIENT_KEY
from tests.harness import (
    PLAIN,
    UPSTREAM_KEY,
    Harness,
    hashed,
    photo,
    pictures_of,
    region,
    serving_gateway,
    start_harness,
    tables,
)
from tests.models import TABLE
from tests.results.pictures import NAME, PICTURE, Failures, MovableCalendar
from tests.warp import WarpClock

Sample = tuple[str, frozenset[tuple[str, str]]]
"""The name of a series without its prefix, and its labels."""

_SAMPLE = re.compile(r"^wan_gateway_(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

RETRY = {"x-stainless-retry-count": "1"}
SOON = {"x-stainless-read-timeout": "4"}
"""A client that waits for 4 seconds."""
QWEN = "qwen-image-edit-plus"
MANY = AccountLimits(submits_per_second=100, running_tasks=100)
WIDE = {"region": "beijing", "key": "env:KEY", "submits_per_second": 100, "running_tasks": 100}
"""An upstream that lets everything run at once."""
_REQUESTS = (
    ("POST", "/v1/images/edits"),
    ("GET", "/v1/images/edits/edit_0"),
    ("POST", "/v1/images/generations"),
    ("GET", "/v1/images/generations/edit_0"),
    ("DELETE", "/v1/images/results"),
    ("GET", "/v1/images/results/no-name"),
    ("POST", "/v1/images/variations"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/gpt-image-1"),
    ("GET", "/openapi.json"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/dashboard"),
    ("GET", "/dashboard/events"),
)
"""One for each route."""
SLOW = replace(PLAIN, latency=Constant(10.0))


@dataclass(slots=True)
class Scrapes:
    """What a scraper reads of a gateway: each series at the start, and the most it ever was."""

    folder: Path
    """For a ledger that outlives its process."""
    first: dict[Sample, float] = field(default_factory=dict)
    most: dict[Sample, float] = field(default_factory=dict)

    def take(self, page: str) -> None:
        """Take note of one page of metrics; the first one is the start."""
        values = {
            (name, frozenset(_LABEL.findall(labels))): float(value)
            for name, labels, value in _SAMPLE.findall(page)
        }
        self.first = self.first or values
        for sample, value in values.items():
            self.most[sample] = max(value, self.most.get(sample, value))

    def risen(self) -> set[Sample]:
        """Return the series that were at some time more than at the start."""
        return {it for it, value in self.most.items() if value > self.first.get(it, 0.0)}

    async def scrape(self, http: httpx.AsyncClient) -> None:
        self.take((await http.get("/metrics")).text)

    async def until(self, http: httpx.AsyncClient, name: str, **labels: str) -> None:
        """Scrape until the series has risen, a minute at the longest."""
        async with asyncio.timeout(60.0):
            while (name, frozenset(labels.items())) not in self.risen():
                await self.scrape(http)
                await asyncio.sleep(0.4)

    @asynccontextmanager
    async def harness(self, *args: Any, **more: Any) -> AsyncIterator[Harness]:
        """Hold a gateway up, scraped at its start and at its end."""
        async with start_harness(*args, **more) as harness:
            await self.scrape(harness.http)
            yield harness
            await self.scrape(harness.http)


Scenario = Callable[[Scrapes], Coroutine[Any, Any, None]]


# ------------------------------------------------------------ pictures that are kept


def keeping(folder: Path) -> dict[str, Any]:
    """Return what start_harness needs to keep pictures in *folder*."""
    results = {"store": f"folder:{folder}", "public_url": "host", "secret": "env:SECRET"}
    return {"results": results, "environ": {"KEY": UPSTREAM_KEY, "SECRET": "s" * 32}}


async def pictures_are_kept(scrapes: Scrapes) -> None:
    """A picture is written, found again by a replay, and deleted by its tenant."""
    async with scrapes.harness(**keeping(scrapes.folder)) as harness:
        for _ in range(2):
            await harness.edit("kept", response_format="url", headers={"idempotency-key": "k"})
        await harness.http.delete("/v1/images/results")


async def kept_pictures_expire(scrapes: Scrapes) -> None:
    """Two rounds find a picture whose time is over."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, ConfiguredNames())
    calendar = MovableCalendar()
    store = FolderStore(scrapes.folder, durable=False, clock=calendar, on_failure=Failures())
    keeper = ResultKeeper(store, keep_seconds=60.0, clock=calendar, observer=metrics)
    scrapes.take(generate_latest(registry).decode())
    await store.put(NAME, PICTURE)
    calendar.time += 120.0
    for _ in range(2):
        await keeper.delete_expired()
    scrapes.take(generate_latest(registry).decode())


# ------------------------------------------------------------ shards of a cluster


async def shards_are_taken(scrapes: Scrapes) -> None:
    """A shard is taken that was given away, and once more after its lease had expired."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, ConfiguredNames(accounts=("acct",)))
    shard = Shard("acct", "beijing", ("acct",), ("acme",))
    harness = EditHarness()
    submits_end = iter((0.0, 1.0))

    def ledger(_: Shard) -> FakeShardLedger:
        made = FakeShardLedger(harness.ledger, harness.clock, "")
        made.submits_end_at = next(submits_end)
        return made

    host = ShardHost(
        [shard],
        Owners([shard], "a"),
        make_ledger=ledger,
        make_service=lambda _, ledger: harness.service(ledger=ledger),
        routing_of=lambda _: (harness.tenants, ()),
        clock=harness.clock,
        observer=metrics,
        notify=lambda *_, **__: None,
        on_bug=harness.bugs.append,
    )
    scrapes.take(generate_latest(registry).decode())
    async with host:
        for _ in range(2):
            host.take(shard)
            await harness.clock.sleep(0.1)
            scrapes.take(generate_latest(registry).decode())
            host.hand_over()
            await harness.clock.sleep(1.0)


async def the_store_fails(scrapes: Scrapes) -> None:
    """Every operation of the store meets a folder that is none, or a file that is none."""
    folder = scrapes.folder / "results"
    async with scrapes.harness(**keeping(folder)) as harness:
        (url,) = (it["url"] for it in (await harness.edit(response_format="url")).json()["data"])
        (file,) = folder.rglob("*.png")
        file.unlink()
        file.mkdir()
        await harness.http.get(url)
        await harness.http.delete(url.partition("?")[0])
        shutil.rmtree(folder)
        folder.write_text("no folder")
        await harness.http.delete("/v1/images/results")
        await harness.edit("put", response_format="url")
        folder.unlink()
        folder.symlink_to(folder)
        await harness.http.head(url)


# ------------------------------------------------------------ requests and their clients


async def every_route_is_requested(scrapes: Scrapes) -> None:
    """Each route answers a request, and is scraped before its response has begun."""
    async with scrapes.harness(
        dashboard={"on": True}, **keeping(scrapes.folder / "results")
    ) as harness:
        for method, path in _REQUESTS:
            await _request_in_flight(scrapes, harness, method, path)


async def every_method_is_tried(scrapes: Scrapes) -> None:
    """A route is requested by every method that HTTP has."""
    async with scrapes.harness() as harness:
        for method in ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"):
            await harness.http.request(method, "/v1/images/edits")


async def results_are_sent(scrapes: Scrapes) -> None:
    """An edit and a generation are made, and fetched again by their ids."""
    async with scrapes.harness() as harness:
        prompt = {"prompt": "a hat", "size": "1024x1024"}
        generation = await harness.http.post("/v1/images/generations", json=prompt)
        for path, made in (("edits", await harness.edit()), ("generations", generation)):
            edit_id = made.headers["x-wan-edit-id"]
            again = await harness.http.get(f"/v1/images/{path}/{edit_id}")
            assert pictures_of(again) == pictures_of(made)


async def edits_fail_late(scrapes: Scrapes) -> None:
    """Edits fail when their responses have begun: each kind of error that a client may see then."""
    server = {"port": 0, "heartbeat_seconds": 1}
    codes = ("DataInspectionFailed", "Throttling.RateQuota", "InternalError", "Arrearage")
    async with scrapes.harness(server=server) as harness, asyncio.TaskGroup() as group:
        for code in codes:
            prompt = f"a hat [sandbox:fail {code}] [sandbox:seconds 3]"
            group.create_task(harness.edit(prompt, stream="true"))


async def sdks_mark_their_retries(scrapes: Scrapes) -> None:
    """An SDK comes for the second, third, fourth and fifth time."""
    async with scrapes.harness() as harness:
        for count in ("1", "2", "3", "4"):
            await harness.edit(headers={"x-stainless-retry-count": count})


async def a_client_leaves_while_it_sends(scrapes: Scrapes) -> None:
    """A client disconnects in the middle of its body."""
    async with scrapes.harness() as harness:
        _, writer = await _connect(harness)
        writer.write(_head(harness, length=1000) + b"--x\r\n")
        await writer.drain()
        await asyncio.sleep(1.0)
        writer.close()
        await scrapes.until(harness.http, "client_disconnects_total", phase="reading")


async def a_client_leaves_the_queue(scrapes: Scrapes) -> None:
    """A client disconnects while its edit waits for another one's slot."""
    upstreams = {"main": {**WIDE, "running_tasks": 1, "pending_ahead": 0}}
    async with scrapes.harness(SLOW, upstreams=upstreams) as harness:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(harness.edit("first"))
            await harness.until("RUNNING", "first")
            await _leave_after(harness, 1.0, "second")
            await first
        await scrapes.until(harness.http, "client_disconnects_total", phase="queued")


async def a_client_leaves_during_the_submit(scrapes: Scrapes) -> None:
    """A client disconnects while DashScope has not answered the submit yet."""
    hang = Fault("submit", Hang(seconds=3.0), count=1)
    async with scrapes.harness(replace(PLAIN, faults=(hang,))) as harness:
        await _leave_after(harness, 1.0)
        await scrapes.until(harness.http, "client_disconnects_total", phase="submitting")


async def a_client_leaves_a_running_task(scrapes: Scrapes) -> None:
    """A client disconnects while its task runs."""
    async with scrapes.harness(SLOW) as harness:
        await _leave_after(harness, 3.0)
        await scrapes.until(harness.http, "client_disconnects_total", phase="polling")


async def a_client_leaves_during_the_download(scrapes: Scrapes) -> None:
    """A client disconnects while DashScope's storage does not deliver its picture."""
    hang = Fault("download", Hang(seconds=8.0), count=1)
    async with scrapes.harness(replace(PLAIN, faults=(hang,))) as harness, asyncio.TaskGroup() as g:
        call = g.create_task(harness.edit())
        await scrapes.until(harness.http, "tasks_in_flight", region="beijing", state="downloading")
        call.cancel()
        await scrapes.until(harness.http, "client_disconnects_total", phase="downloading")


async def a_client_leaves_during_the_response(scrapes: Scrapes) -> None:
    """A client reads the beginning of a large picture and disconnects."""
    async with scrapes.harness(replace(PLAIN, plain_bytes=20_000_000)) as harness:
        async with harness.http.stream("POST", "/v1/images/edits", **_form("a hat")) as response:
            await anext(response.aiter_raw())
        await scrapes.until(harness.http, "client_disconnects_total", phase="writing")


# ------------------------------------------------------------ refused before a submit


async def the_queue_is_full(scrapes: Scrapes) -> None:
    """A tenant may have no edit in the queue, and sends one."""
    tenants = {"acme": {"region": "beijing", "open": True, "max_waiting": 0}}
    async with scrapes.harness(tenants=tenants) as harness:
        assert (await harness.edit()).status_code == 429


async def the_queue_is_too_slow(scrapes: Scrapes) -> None:
    """A client's patience ends while its edit is in the queue."""
    upstreams = {"main": {**WIDE, "running_tasks": 1, "pending_ahead": 0}}
    async with scrapes.harness(SLOW, upstreams=upstreams) as harness, asyncio.TaskGroup() as group:
        group.create_task(harness.edit("first"))
        await harness.until("RUNNING", "first")
        assert (await harness.edit("second", headers=SOON)).status_code == 429


async def the_memory_budget_is_used_up(scrapes: Scrapes) -> None:
    """A body arrives when others hold the whole budget."""
    server = {"max_body_bytes": 100_000, "max_bytes_in_flight": 100_000}
    async with scrapes.harness(server=server) as harness:
        _, writer = await _connect(harness)
        writer.write(_head(harness, length=99_000) + bytes(90_000))
        await scrapes.until(harness.http, "inflight_body_bytes")
        refused = await harness.edit(picture=bytes(50_000))
        writer.close()
        assert refused.status_code == 503


async def the_config_is_reloaded(scrapes: Scrapes) -> None:
    async with scrapes.harness() as harness:
        harness.gateway.reload(harness.gateway.config)
        harness.gateway.refuse_reload()


async def the_gateway_drains(scrapes: Scrapes) -> None:
    """An edit arrives after SIGTERM, while another one still runs."""
    async with scrapes.harness(SLOW) as harness, asyncio.TaskGroup() as group:
        group.create_task(harness.edit("first"))
        await harness.until("RUNNING", "first")
        harness.gateway.drain(60.0)
        assert (await harness.edit("second")).status_code == 503


# ------------------------------------------------------------ tasks


async def an_edit_goes_through_all_states(scrapes: Scrapes) -> None:
    """An edit is slow in each of its states and phases, and is delivered."""
    faults = (
        Fault("submit", Hang(seconds=2.0), prompt="second"),
        Fault("download", Hang(seconds=2.0)),
    )
    config = replace(SLOW, faults=faults, limits=replace(MANY, running_tasks=1))
    upstreams = {"main": {**WIDE, "running_tasks": 1, "pending_ahead": 1}}
    async with (
        scrapes.harness(config, upstreams=upstreams) as harness,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(harness.edit("first"))
        await harness.until("RUNNING", "first")
        group.create_task(harness.edit("second"))
        for state in ("submitting", "pending", "running", "downloading"):
            await scrapes.until(harness.http, "tasks_in_flight", region="beijing", state=state)


async def tasks_end_in_every_way(scrapes: Scrapes) -> None:
    """Tasks fail by each kind of error, whole or in part; the ledger is counted afterwards."""
    ends = (
        *("fail DataInspectionFailed", "fail InvalidParameter.DataInspection"),
        *("fail InvalidParameter", "fail Throttling.RateQuota", "fail Arrearage"),
        *("fail InvalidApiKey", "fail ModelNotFound", "fail InternalError"),
        *("fail InternalError.Timeout", "cancel", "unknown", "seconds 40"),
    )
    drop = Fault("submit", Drop(after=True), prompt="dropped")
    config = replace(PLAIN, faults=(drop,), limits=MANY)
    async with scrapes.harness(config, upstreams={"main": WIDE}) as harness:
        async with asyncio.TaskGroup() as group:
            for end in ends:
                group.create_task(harness.edit(f"a hat [sandbox:{end}]", headers=SOON))
            group.create_task(harness.edit("a hat [sandbox:partial 0]", n="2"))
            group.create_task(harness.edit("dropped", model=QWEN, size="1024x1024"))
        for state in ("open", "succeeded", "failed"):
            await scrapes.until(harness.http, "journal_entries", state=state)


async def a_task_never_ends(scrapes: Scrapes) -> None:
    """A task runs for longer than the 3 hours that DashScope allows."""
    async with _edit_service(scrapes) as (harness, service):
        harness.dashscope.run = Run(running=20 * 3600.0)
        await leave_edit_after(service, harness.request(), 2.0)
        await harness.clock.sleep(4 * 3600.0)


async def nobody_fetches_a_result(scrapes: Scrapes) -> None:
    """A client leaves, its task ends, and 24 hours go by."""
    async with _edit_service(scrapes) as (harness, service):
        await leave_edit_after(service, harness.request(), 5.0)
        await harness.clock.sleep(25 * 3600.0)


async def a_picture_cannot_be_downloaded(scrapes: Scrapes) -> None:
    """DashScope's storage refuses every download of a picture that was paid for."""
    refused = Fault("download", Answer(403, "AccessDenied"))
    async with scrapes.harness(replace(PLAIN, faults=(refused,))) as harness:
        assert (await harness.edit()).status_code == 503


# ------------------------------------------------------------ calls upstream


async def a_pending_task_is_cancelled(scrapes: Scrapes) -> None:
    """A client leaves while its task waits at DashScope, behind another one."""
    config = replace(SLOW, limits=replace(MANY, running_tasks=1))
    upstreams = {"main": {**WIDE, "running_tasks": 1, "pending_ahead": 1}}
    async with (
        scrapes.harness(config, upstreams=upstreams) as harness,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(harness.edit("first"))
        await harness.until("RUNNING", "first")
        second = group.create_task(harness.edit("second"))
        await harness.until("PENDING", "second")
        second.cancel()
        await harness.until("CANCELED", "second")


async def downloads_are_repeated(scrapes: Scrapes) -> None:
    """A download brings something that is not a picture, is refused, and breaks."""
    faults = (
        Fault("download", Answer(200, body="<html>busy</html>"), count=1),
        Fault("download", Answer(503), count=1),
        Fault("download", Cut(9_000), count=1),
    )
    async with scrapes.harness(replace(PLAIN, faults=faults)) as harness:
        assert pictures_of(await harness.edit())


async def uploads_fail(scrapes: Scrapes) -> None:
    """An upload is refused, and another one breaks."""
    faults = (
        Fault("upload", Answer(500), count=1),
        Fault("upload", Drop(), count=1),
    )
    server = {"port": 0, "inline_bytes": 1000}
    async with scrapes.harness(replace(PLAIN, faults=faults), server=server) as harness:
        for prompt in ("first", "second"):
            assert pictures_of(await harness.edit(prompt))


async def an_upload_would_go_elsewhere(scrapes: Scrapes) -> None:
    """DashScope names a storage host that the config does not allow."""
    server = {"port": 0, "inline_bytes": 1000}
    async with start_harness() as elsewhere:
        url = elsewhere.regions["beijing"]
        regions = {"beijing": {"base_url": f"{url}/api/v1", "result_hosts": ["storage.test"]}}
        async with scrapes.harness(server=server, regions=regions) as harness:
            await harness.edit(headers=SOON)


async def calls_are_throttled(scrapes: Scrapes) -> None:
    """DashScope answers a submit, polls and lists with 429; 30 tasks are worth lists."""
    faults = (
        Fault("submit", Answer(429, "Throttling.RateQuota"), count=1),
        Fault("query", Answer(429, "Throttling"), count=1),
        Fault("list", Answer(429, "Throttling"), count=3),
    )
    config = replace(SLOW, faults=faults, limits=MANY)
    async with (
        scrapes.harness(config, upstreams={"main": WIDE}) as harness,
        asyncio.TaskGroup() as group,
    ):
        for nth in range(30):
            group.create_task(harness.edit(f"hat {nth}"))


# ------------------------------------------------------------ nothing is paid twice


async def requests_join(scrapes: Scrapes) -> None:
    """Retries and equal requests come while an edit runs and after it was delivered."""
    tenant = {"region": "beijing", "keys": [hashed(CLIENT_KEY)], "equal_edits": "join"}
    key = {"idempotency-key": "order-1"}
    async with scrapes.harness(SLOW, tenants={"acme": tenant}) as harness:
        async with asyncio.TaskGroup() as group:
            group.create_task(harness.edit("plain"))
            group.create_task(harness.edit("with a key", headers=key))
            await harness.until("RUNNING", "plain")
            await harness.until("RUNNING", "with a key")
            group.create_task(harness.edit("plain"))
            group.create_task(harness.edit("with a key", headers=key))
        await harness.edit("plain", headers=RETRY)
        await harness.edit("with a key", headers=key)
        assert (await harness.edit("another content", headers=key)).status_code == 422


async def an_answer_to_a_submit_is_lost(scrapes: Scrapes) -> None:
    """DashScope makes a task, and the connection breaks before its answer."""
    drop = Fault("submit", Drop(after=True), count=1)
    async with scrapes.harness(replace(PLAIN, faults=(drop,))) as harness:
        assert pictures_of(await harness.edit())


async def the_next_process_takes_over(scrapes: Scrapes) -> None:
    """A process ends with one task running and two submits unanswered, one of which made a task."""
    faults = (
        Fault("submit", Hang(after=True), prompt="made", count=1),
        Fault("submit", Hang(), prompt="not", count=1),
    )
    clock = WarpClock()
    async with region(replace(SLOW, faults=faults), clock) as url:
        state = {"path": str(scrapes.folder / "gateway.db")}
        config = build(
            "test",
            tables({"beijing": url}, state=state, server={"drain_seconds": 1}),
            {"KEY": UPSTREAM_KEY},
        )
        async with _gateway(config, clock) as http:
            await scrapes.scrape(http)
            async with asyncio.TaskGroup() as group:
                for prompt in ("running", "made", "not"):
                    form = _form(prompt)
                    group.create_task(http.post("/v1/images/edits", headers=SOON, **form))
        async with _gateway(config, clock) as http:
            for how in ("task_followed", "submit_resolved", "submit_void"):
                await scrapes.until(http, "recovered_tasks_total", how=how)


# ------------------------------------------------------------ what they share


def _form(prompt: str) -> dict[str, Any]:
    return {
        "data": {"prompt": prompt, "size": "768x768"},
        "files": {"image": ("a.png", photo(), "image/png")},
    }


async def _request_in_flight(scrapes: Scrapes, harness: Harness, method: str, path: str) -> None:
    """Call the app without a socket, and scrape it while the request is in flight."""
    key = harness.http.headers["authorization"].encode()
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", key)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
        "extensions": {},
    }

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            await scrapes.scrape(harness.http)

    await harness.gateway.app(scope, receive, send)


async def _leave_after(harness: Harness, seconds: float, prompt: str = "a hat") -> None:
    async with asyncio.TaskGroup() as group:
        call = group.create_task(harness.edit(prompt))
        await asyncio.sleep(seconds)
        call.cancel()


async def _connect(harness: Harness) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = httpx.URL(harness.url)
    return await asyncio.open_connection(url.host, url.port)


def _head(harness: Harness, *, length: int) -> bytes:
    """Return the head of an edit whose form has *length* bytes."""
    return (
        "POST /v1/images/edits HTTP/1.1\r\nhost: gateway\r\n"
        f"authorization: {harness.http.headers['authorization']}\r\n"
        f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


@asynccontextmanager
async def _gateway(config: Any, clock: WarpClock) -> AsyncIterator[httpx.AsyncClient]:
    async with serving_gateway(config, clock) as (_, _, url):
        headers = {"authorization": f"Bearer {CLIENT_KEY}"}
        async with httpx.AsyncClient(
            base_url=url, headers=headers, timeout=3600.0, trust_env=False
        ) as http:
            yield http


@asynccontextmanager
async def _edit_service(scrapes: Scrapes) -> AsyncIterator[tuple[EditHarness, Any]]:
    """Hold gateway.edits up on warped time, before a fake DashScope, counted by real Metrics."""
    harness = EditHarness()
    registry = CollectorRegistry()
    metrics = Metrics(registry, configured_names(harness.tenants, TABLE.by_name))
    scrapes.take(generate_latest(registry).decode())
    async with harness.service(observer=metrics) as service:
        yield harness, service
    scrapes.take(generate_latest(registry).decode())
