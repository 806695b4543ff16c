"""Whatever the config and whoever asks: no key meets another region's host (P13)."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from gateway.app import build as build_gateway
from gateway.config.build import build as build_config
from gateway.sandbox import Answer, Constant, End, Fault, create_sandbox
from gateway.upstream.clients import Purpose, Transports
from tests.fast_time import FastLoop
from tests.harness import PLAIN, hashed, photo
from tests.warp import WarpClock

_REGIONS = ("beijing", "singapore")
_TASK = re.compile(rb"(?<=\"task_id\":\")[0-9a-f-]{36}|[0-9a-f-]{36}(?=-[0-9]\.png)")
_PROMPT = re.compile(rb'"prompt":"[a-z]+ ([0-9]+)"')


@dataclass(frozen=True)
class _GeneratedUpstream:
    region: str
    account: int
    valid: bool


@dataclass(frozen=True)
class _GeneratedTenant:
    region: str
    wishes: tuple[int, ...]
    """Which of its region's upstreams, by place; none: all."""


@dataclass(frozen=True)
class _Setup:
    upstreams: tuple[_GeneratedUpstream, ...]
    tenants: tuple[_GeneratedTenant, ...]
    requests: tuple[tuple[int, str], ...]
    """Who asks, by place, and how its task ends."""


@dataclass
class _Sent:
    """One request that left the gateway."""

    host: str
    key: str
    purpose: Purpose
    place: int | None
    """Of a submit: whose edit it is, by the number in its prompt."""
    task: str
    """The task that it made, or whose picture it asked for."""


@dataclass
class _RecordingTransport(httpx.AsyncBaseTransport):
    """Carries a purpose's requests to the regions in this process, and writes each one down."""

    purpose: Purpose
    regions: Mapping[str, httpx.AsyncBaseTransport]
    sent: list[_Sent] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _, _, key = request.headers.get("authorization", "").partition(" ")
        prompt = _PROMPT.search(await request.aread())
        answer = await self.regions[request.url.host].handle_async_request(request)
        reported = await answer.aread() if self.purpose is Purpose.SUBMIT else request.url.raw_path
        found = _TASK.search(reported)
        task = found[0].decode() if found else ""
        place = int(prompt[1]) if prompt else None
        self.sent.append(_Sent(request.url.host, key, self.purpose, place, task))
        return answer


@st.composite
def _setups(draw: st.DrawFn) -> _Setup:
    """Three upstreams or more, and tenants where they are, each of whom asks at least once."""
    upstream = st.builds(
        _GeneratedUpstream, st.sampled_from(_REGIONS), st.integers(0, 1), st.booleans()
    )
    upstreams = tuple(draw(st.lists(upstream, min_size=3, max_size=6)))
    places = sorted({one.region for one in upstreams})
    wishes = st.permutations(range(3)).map(lambda order: tuple(order[:1]))
    tenant = st.builds(_GeneratedTenant, st.sampled_from(places), st.just(()) | wishes | wishes)
    tenants = tuple(draw(st.lists(tenant, min_size=2, max_size=3)))
    ends = st.sampled_from(("well", "fail", "refuse", "throttle", "forged"))
    requested = tuple((place, draw(ends)) for place in (*range(len(tenants)), 0))
    return _Setup(upstreams, tenants, requested)


def _key(place: int, upstream: _GeneratedUpstream) -> str:
    return f"sk-{upstream.region}-{place}"


def _own(setup: _Setup, tenant: _GeneratedTenant) -> list[int]:
    """The places of the upstreams that a tenant may use."""
    local = [place for place, up in enumerate(setup.upstreams) if up.region == tenant.region]
    return [local[wish] for wish in tenant.wishes if wish < len(local)] or local


def _tables(setup: _Setup) -> dict[str, Any]:
    return {
        "state": {"path": "memory"},
        "regions": {
            name: {"base_url": f"http://{name}.test/api/v1", "result_hosts": [f"{name}.test"]}
            for name in _REGIONS
        },
        "upstreams": {
            f"u{i}": {
                "region": up.region,
                "key": f"env:U{i}",
                "account": f"{up.region}{up.account}",
            }
            for i, up in enumerate(setup.upstreams)
        },
        "tenants": {
            f"t{i}": {
                "region": one.region,
                "keys": [hashed(f"wk-{i}")],
                "upstreams": [f"u{u}" for u in _own(setup, one)],
            }
            for i, one in enumerate(setup.tenants)
        },
    }


_FAULTS = (
    Fault("submit", End("FAILED"), prompt="fail"),
    Fault("submit", Answer(400, "DataInspectionFailed"), prompt="refuse"),
    Fault("submit", Answer(429, "Throttling"), prompt="throttle", count=1),
)


def _regions(setup: _Setup, clock: WarpClock) -> dict[str, httpx.AsyncBaseTransport]:
    result: dict[str, httpx.AsyncBaseTransport] = {}
    for name in _REGIONS:
        accounts: dict[str, tuple[str, ...]] = {"nobody": (f"sk-{name}-nobody",)}
        for place, upstream in enumerate(setup.upstreams):
            if upstream.region == name and upstream.valid:
                account = f"a{upstream.account}"
                accounts[account] = (*accounts.get(account, ()), _key(place, upstream))
        sandbox = replace(
            PLAIN, region=name, accounts=accounts, faults=_FAULTS, latency=Constant(0.1)
        )
        result[f"{name}.test"] = httpx.ASGITransport(create_sandbox(sandbox, clock=clock))
    return result


class _Forging(httpx.AsyncBaseTransport):
    """A region that has gone bad: the pictures of some tasks lie in the other region."""

    def __init__(self, within: httpx.AsyncBaseTransport, name: str) -> None:
        self._within = within
        (self._other,) = {f"{region}.test" for region in _REGIONS} - {name}
        self._name = name

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._within.handle_async_request(request)
        body = await answer.aread()
        if b'"forged' in body:
            body = body.replace(self._name.encode(), self._other.encode())
        headers = {"content-type": answer.headers.get("content-type", "")}
        return httpx.Response(answer.status_code, headers=headers, content=body)


async def _live(setup: _Setup) -> tuple[list[_Sent], list[httpx.Response]]:
    """Play *setup*; return what left the gateway, and what the clients got."""
    clock, wires = WarpClock(), []
    regions = {name: _Forging(one, name) for name, one in _regions(setup, clock).items()}

    def transports(purpose: Purpose) -> httpx.AsyncBaseTransport:
        wires.append(_RecordingTransport(purpose, regions))
        return wires[-1]

    answers = await _ask(setup, clock, transports)
    return [sent for wire in wires for sent in wire.sent], answers


async def _ask(setup: _Setup, clock: WarpClock, transports: Transports) -> list[httpx.Response]:
    environ = {f"U{place}": _key(place, one) for place, one in enumerate(setup.upstreams)}
    config = build_config("world", _tables(setup), environ)
    app = build_gateway(config, clock=clock, transports=transports).app
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")
        )
        return await asyncio.gather(
            *(
                http.post(
                    "/v1/images/edits",
                    data={"prompt": f"{how} {place}", "size": "768x768"},
                    files={"image": ("a.png", photo(), "image/png")},
                    headers={
                        "authorization": f"Bearer wk-{tenant}",
                        "x-stainless-read-timeout": "4",
                    },
                )
                for place, (tenant, how) in enumerate(setup.requests)
            )
        )


_NEIGHBOURS = _Setup(
    upstreams=(
        _GeneratedUpstream("beijing", 0, valid=True),
        _GeneratedUpstream("beijing", 1, valid=True),
    ),
    tenants=(_GeneratedTenant("beijing", (0,)), _GeneratedTenant("beijing", (1,))),
    requests=((0, "well"), (1, "well"), (1, "forged")),
)
"""Two tenants of one region, each with a key of its own."""


@pytest.mark.slow
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # each example takes a tenth of a second or more
)
@example(setup=_NEIGHBOURS)
@given(setup=_setups())
def test_no_key_meets_another_host(setup: _Setup) -> None:
    """Calls carry a key of their host and submits one of their tenant; downloads none."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        sent, answers = runner.run(_live(setup))

    hosts = {_key(place, one): f"{one.region}.test" for place, one in enumerate(setup.upstreams)}
    result = {one.task: one.host for one in sent if one.purpose is Purpose.SUBMIT and one.task}
    for one in sent:
        if one.purpose is Purpose.DOWNLOAD:
            assert not one.key
            assert one.host == result[one.task]
        else:
            assert hosts[one.key] == one.host
    for one in sent:
        if one.purpose is Purpose.SUBMIT:
            assert one.place is not None
            tenant = setup.tenants[setup.requests[one.place][0]]
            own = [_key(place, setup.upstreams[place]) for place in _own(setup, tenant)]
            assert one.key in own
    for answer, (asker, how) in zip(answers, setup.requests, strict=True):
        region = setup.tenants[asker].region
        assert answer.headers.get("x-wan-region", region) == region
        assert answer.status_code != 200 or how in {"well", "throttle"}
