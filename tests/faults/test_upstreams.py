"""Upstreams that refuse our key or cannot be reached: the next one, or an honest 503."""

import socket
from dataclasses import dataclass, replace

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.sandbox import Answer, Fault
from gateway.upstream.clients import Purpose, Transports
from tests.harness import PLAIN, UPSTREAM_KEY, direct, pictures_of, start_harness
from tests.ports import free_port

pytestmark = pytest.mark.anyio

_MAIN = {"region": "beijing", "key": "env:KEY"}
_TWO = {
    "first": {"region": "beijing", "key": "env:FIRST", "account": "one"},
    "second": {**_MAIN, "account": "two"},
}
_ENVIRON = {"FIRST": "sk-first", "KEY": UPSTREAM_KEY}


async def test_key_refused() -> None:
    """A key that DashScope refuses is the operator's matter: 503 to the client, never 401."""
    strangers = replace(PLAIN, accounts={"other": ("sk-another",)})
    async with start_harness(strangers) as harness:
        answer = await harness.edit()

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "upstream_unavailable")
        assert answer.headers["x-should-retry"] == "false"
        assert "sk-sandbox" not in answer.text
        assert (await harness.books())["tasks_made"] == 0


async def test_unreachable() -> None:
    """Nobody listens at the region's address: 503 that is worth a retry."""
    regions = {"beijing": {"base_url": f"http://127.0.0.1:{free_port()}/api/v1"}}
    async with start_harness(regions=regions) as harness:
        answer = await harness.edit()

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "upstream_unreachable")
        assert answer.headers["x-should-retry"] == "true"
        assert (await harness.books())["tasks_made"] == 0


@dataclass(frozen=True)
class _FirstSubmitElsewhere(httpx.AsyncBaseTransport):
    """Leads the first submit to a port where nobody listens; the rest goes its way."""

    within: httpx.AsyncBaseTransport
    misled: list[httpx.URL]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.misled:
            self.misled.append(request.url)
            request.url = request.url.copy_with(port=free_port())
        return await self.within.handle_async_request(request)

    async def aclose(self) -> None:
        await self.within.aclose()


def _misleading(misled: list[httpx.URL]) -> Transports:
    def transports(purpose: Purpose) -> httpx.AsyncBaseTransport:
        within = direct(purpose)
        return _FirstSubmitElsewhere(within, misled) if purpose is Purpose.SUBMIT else within

    return transports


async def test_unreachable_then_next() -> None:
    """An upstream that cannot be reached is passed over for the tenant's next, unseen."""
    misled: list[httpx.URL] = []
    both = replace(PLAIN, accounts={"one": ("sk-first",), "two": (UPSTREAM_KEY,)})
    async with start_harness(
        both, transports=_misleading(misled), upstreams=_TWO, environ=_ENVIRON
    ) as harness:
        answer = await harness.edit()

        assert len(misled) == 1
        assert pictures_of(answer)
        assert (await harness.books())["tasks_made"] == 1


async def test_key_refused_then_next() -> None:
    """A refused key is passed over for the tenant's next, which makes the one task."""
    second = replace(PLAIN, accounts={"two": (UPSTREAM_KEY,)})
    async with start_harness(second, upstreams=_TWO, environ=_ENVIRON) as harness:
        answer = await harness.edit()

        books = await harness.books()
        assert pictures_of(answer)
        assert books["counts"]["submit.received"] == 2
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)


def test_a_dead_port_is_dead() -> None:
    """What the tests above call unreachable refuses connections."""
    with socket.socket() as caller:
        assert caller.connect_ex(("127.0.0.1", free_port())) != 0


async def test_the_operator_is_told_of_a_refused_key() -> None:
    """One warning names the key and what to do; the request's line has upstream's sentence."""
    fault = Fault("submit", Answer(401, "InvalidApiKey", "Invalid API-key provided."), count=2)
    with capture_logs() as lines:
        async with start_harness() as harness:
            await harness.set_faults(fault)
            answers = [await harness.edit(f"edit {number}") for number in range(3)]

    warnings = [it for it in lines if it["event"].startswith("upstream_")]
    requests = [it for it in lines if it["event"] == "request" and "upstream_code" in it]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert [it["event"] for it in warnings] == ["upstream_does_not_work", "upstream_works_again"]
    assert warnings[0] == {
        "event": "upstream_does_not_work",
        "log_level": "warning",
        "upstream": "beijing-main",
        "account": "beijing-main",
        "region": "beijing",
        "model": "wan2.5-i2i-preview",
        "reason": "InvalidApiKey",
        "upstream_says": "Invalid API-key provided.",
        "remedy": "put a valid key of this region where upstreams.beijing-main.key points, and "
        "start again",
    }
    assert [it["upstream_message"] for it in requests] == ["Invalid API-key provided."] * 2
