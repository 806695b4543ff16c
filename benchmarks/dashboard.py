"""
What it costs to be watched: one look at many edits, and a viewer's share of a second.

``python -m benchmarks.dashboard`` holds edits of 200 tenants on 100 accounts, none of which
moves, and changes one of them each second, so that every second a state is sent. CPU is this
process's own; viewers are in it too, and throw away what they get.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass
from statistics import median
from typing import cast

from starlette.types import Message

from benchmarks.simulation import LoopClock, quiet_observer
from gateway.config.model_table import built_in_models
from gateway.domain.clock import Phase, Phases
from gateway.domain.edit import Edit, Picture
from gateway.domain.snapshot import Snapshot
from gateway.domain.tenant import Account, Region, Tenant, Upstream
from gateway.downstream.dashboard import StateReader
from gateway.downstream.disconnect import DisconnectWatch
from gateway.downstream.memory_budget import MemoryBudget
from gateway.downstream.ops import Readiness
from gateway.downstream.ports import AccessLog
from gateway.downstream.viewers import RecentReplies, Viewers
from gateway.edits.account import build_accounts
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.ports import DashScope
from gateway.edits.request import EditRequest
from gateway.edits.snapshot import take_snapshot

_REGION = Region("beijing", "https://beijing.test", ())
_PICTURE = (Picture(content=b"picture", media_type="image/png"),)


class FakeService:
    """Answers what the service answers, for *n* edits of which a twentieth run."""

    def __init__(self, n: int) -> None:
        self._clock = LoopClock()
        accounts = [Account(f"account-{i}", "beijing") for i in range(100)]
        upstreams = [Upstream(f"key-{i}", _REGION, it, "sk") for i, it in enumerate(accounts)]
        self._tenants = [Tenant(f"t-{i}", "beijing", (upstreams[i % 100],)) for i in range(200)]
        nobody = cast("DashScope", None)
        self._accounts = build_accounts(
            upstreams, dashscope=nobody, clock=self._clock, observer=quiet_observer()
        )
        self.active_edits = [self._active_edit(i) for i in range(n)]

    def snapshot(self) -> Snapshot:
        return take_snapshot(self._tenants, self._accounts.values(), self.active_edits, self._clock)

    def change(self) -> None:
        for active in self.active_edits[:1]:
            active.life.joined()

    def _active_edit(self, number: int) -> ActiveEdit:
        tenant, now = self._tenants[number % 200], self._clock.now()
        edit = Edit(model="wan2.5-i2i-preview", prompt=f"prompt {number}")
        request = EditRequest(tenant, edit, _PICTURE, str(number), 300.0, Phases(now))
        active = ActiveEdit.begin(
            f"edit_{number:032x}",
            request,
            built_in_models().model(edit.model),
            created=self._clock.epoch(),
        )
        active.timeline.enter(Phase.QUEUE, now)
        active.life.joined()
        if number % 20 == 0:
            active.life.intended(0, tenant.upstreams[0], now=now, at=self._clock.epoch())
            active.life.accepted(0, f"task-{number}")
            active.timeline.enter(Phase.SUBMIT, now)
            active.timeline.enter(Phase.UPSTREAM_RUNNING, now)
        return active


def look_at(crowd: FakeService) -> StateReader:
    answered = RecentReplies(cast("AccessLog", None))
    return StateReader(crowd, answered, MemoryBudget(1, lambda _: None), Readiness(), None)


@dataclass
class CountingViewer:
    got: int = 0

    async def watch(self, viewers: Viewers) -> None:
        async with DisconnectWatch(self._receive) as client:
            await viewers.stream(self._send, client)

    async def _receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, message: Message) -> None:
        self.got += len(message["body"])


async def watched(crowd: FakeService, n: int, seconds: int) -> tuple[float, float]:
    """Return CPU in percent of a core, and kilobytes a second of each, with *n* viewers."""
    viewers, audience = Viewers(look_at(crowd), LoopClock()), [CountingViewer() for _ in range(n)]
    async with asyncio.TaskGroup() as group:
        for viewer in audience:
            group.create_task(viewer.watch(viewers))
        began = time.process_time()
        for _ in range(seconds):
            await asyncio.sleep(1.0)
            crowd.change()
        spent = time.process_time() - began
        viewers.close()
    each = sum(viewer.got for viewer in audience) / max(1, n)
    return 100 * spent / seconds, each / seconds / 1000


async def main(rounds: int, seconds: int) -> None:
    print(
        "| edits held | one look [ms] | its JSON [KB] | viewers | CPU [% of a core] | KB/s each |"
    )
    print("|---|---|---|---|---|---|")
    for n in (0, 100, 10_000):
        crowd = FakeService(n)
        look = look_at(crowd)
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            state = look()
            times.append(1000 * (time.perf_counter() - began))
        for viewers in (0, 1, 16):
            percent, each = await watched(crowd, viewers, seconds)
            print(
                f"| {n} | {median(times):.2f} | {len(state) / 1000:.1f} | {viewers} "
                f"| {percent:.2f} | {each:.1f} |"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=100, help="for each median (%(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="of viewing (%(default)s)")
    summary = parser.parse_args()
    asyncio.run(main(summary.looks, summary.seconds))
