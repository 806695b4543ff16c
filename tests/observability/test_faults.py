"""From a scripted fault of the sandbox to the alert, through a real gateway and Prometheus."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest

from gateway.sandbox import Answer, End, Fault, Hang
from tests.fast_time import FastLoop
from tests.harness import Harness
from tests.observability.play import edit, leave, town
from tests.observability.prometheus import UP, Prometheus, prometheus
from tests.programs import needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs("prometheus")]

_LONG = 75.0  # seconds of a task that others wait for: over a minute
_SLOW = 135.0
_HANGS = 8.0  # shorter than a call may take, so that it succeeds, late
_SHORT = 0.5  # seconds of a task that ends long before such a call does
_OWN_SPEED = "WanGatewayOverhead"
"""Seconds of the loop are short here, and so the gateway looks slow."""

Story = Callable[[Harness, Prometheus], Awaitable[None]]

_BEIJING = (
    Fault("submit", Answer(401, "InvalidApiKey"), prompt="refused"),
    Fault("submit", Answer(429, "Throttling.RateQuota"), prompt="throttled", count=3),
    Fault("submit", End(seconds=_LONG), prompt="stand"),
    Fault("submit", End(seconds=_SLOW), prompt="slow"),
)
_SINGAPORE = (
    Fault("submit", Answer(404, "ModelNotFound"), prompt="elsewhere"),
    Fault("submit", End(seconds=_SHORT), prompt="noticed late"),
    Fault("query", Hang(_HANGS)),
    Fault("list", Hang(_HANGS)),
)


async def _refused_key(harness: Harness, _: Prometheus) -> None:
    await edit(harness, "studio", "refused")


async def _wrong_region(harness: Harness, _: Prometheus) -> None:
    await edit(harness, "abroad", "elsewhere")


async def _failing_tasks(harness: Harness, watcher: Prometheus) -> None:
    for _ in range(3):
        await _all(
            [edit(harness, "acme", f"[sandbox:fail InternalError] {n}", n) for n in range(2)]
        )
        await watcher.looks()  # a counter's first value is no increase


async def _throttled(harness: Harness, _: Prometheus) -> None:
    await edit(harness, "acme", "throttled")


async def _left_alone(harness: Harness, _: Prometheus) -> None:
    await _all([leave(harness, "acme", f"left {n}") for n in range(3)])


async def _slow_task(harness: Harness, _: Prometheus) -> None:
    await _all([edit(harness, "acme", f"slow {n}", n) for n in range(2)])


async def _standing_line(harness: Harness, _: Prometheus) -> None:
    await _all([edit(harness, "tiny", f"stand {n}", n) for n in range(2)])


async def _silent_polls(harness: Harness, _: Prometheus) -> None:
    await edit(harness, "abroad", "noticed late")


_STORIES: dict[Story, tuple[str, ...]] = {
    _refused_key: ("WanGatewayKeyDown",),
    _wrong_region: ("WanGatewayRegionMismatch",),
    _failing_tasks: ("WanGatewayTaskFailures", "WanGatewayDeliveryBurnsFast"),
    _throttled: ("WanGatewaySubmitsThrottled",),
    _left_alone: ("WanGatewayProxyCuts", "WanGatewayUndelivered"),
    _silent_polls: ("WanGatewayDetectionLag",),
    _standing_line: ("WanGatewayLineStands",),
    _slow_task: ("WanGatewaySlowTasks",),
}


@dataclass(slots=True)
class Fired:
    """Which alerts were seen firing: while all was well, and once it was not."""

    calm: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)

    async def look_for(self, watcher: Prometheus, name: str) -> None:
        with suppress(AssertionError):
            await watcher.sees(f'ALERTS{{alertname="{name}",alertstate="firing"}}')
            self.later.add(name)


async def _live(watcher: Prometheus) -> Fired:
    fired = Fired()
    async with town() as harness:
        watcher.scrape(harness.url)
        await watcher.looks()
        await _all([edit(harness, tenant, f"calm {tenant}") for tenant in ("acme", "abroad")])
        await watcher.sees('sum(wan_gateway_tasks_total{outcome="succeeded"}) >= 2')
        # A page of metrics that came too late is the machine's fault, not the gateway's.
        fired.calm = watcher.firing(await watcher.sees(f"min_over_time({UP}[3s]) == 1"))
        await harness.set_faults(*_BEIJING)
        await harness.set_faults(*_SINGAPORE, region="singapore")

        async def play(story: Story) -> None:
            looks = [fired.look_for(watcher, name) for name in _STORIES[story]]
            await _all([story(harness, watcher), *looks])

        await _all([play(story) for story in _STORIES])
    await fired.look_for(watcher, "WanGatewayDown")
    return fired


async def _all(works: Iterable[Awaitable[httpx.Response | None]]) -> None:
    await asyncio.gather(*works)


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fired]:
    with (
        prometheus(tmp_path_factory.mktemp("prometheus")) as watcher,
        asyncio.Runner(loop_factory=FastLoop) as runner,
    ):
        try:
            fired = runner.run(_live(watcher))
        except TimeoutError:
            pytest.skip("the machine is too busy to play this in hurried time")
        yield fired


def test_silent_while_all_is_well(fired: Fired) -> None:
    """Good edits raise no alert."""
    assert {name for name in fired.calm if not name.startswith(_OWN_SPEED)} == set()


@pytest.mark.parametrize("name", [name for names in _STORIES.values() for name in names])
def test_a_fault_raises_its_alert(fired: Fired, name: str) -> None:
    """What goes wrong upstream is an alert a moment later."""
    assert name in fired.later


def test_a_gateway_that_is_gone(fired: Fired) -> None:
    """A gateway that ended is missed, and none of its own figures is needed for that."""
    assert "WanGatewayDown" in fired.later
