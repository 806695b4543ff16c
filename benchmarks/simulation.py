"""A simulated DashScope account, on time that jumps; its list may lie."""

import asyncio
import heapq
import math
import random
import selectors
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, cast

from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.errors import Throttled, UpstreamUnavailable, UpstreamUnreachable
from gateway.domain.intent import Intent
from gateway.domain.task import Accepted, ResultImage, Task, TaskPage, TaskRow, TaskStatus, Times
from gateway.domain.tenant import Upstream
from gateway.edits.ports import Observer

_CALENDAR = 1_750_000_000.0


class _Jumper(selectors.SelectSelector):
    """Where a real selector would sleep, time jumps."""

    loop: "JumpingLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Nothing is ready and no timer is set.")
        self.loop.seconds += max(0.0, timeout)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """Runs timers in order without waiting for them."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        selector = _Jumper()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.seconds


class LoopClock:
    """Answers gateway.domain.clock.Clock by the running loop's time, warped or real."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def epoch(self) -> float:
        return _CALENDAR + self.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Quiet:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_named: None


class Nothing:
    """A ledger, mask sources or finisher that does nothing: what is measured is gateway.edits."""

    async def owed(self) -> list[object]:
        return []

    async def list_ids(self) -> list[str]:
        return []

    async def find_tasks(self, task_ids: Collection[str]) -> set[str]:  # noqa: ARG002 - the port's
        return set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def done(*_args: object, **_named: object) -> None: ...

        return done


def quiet_observer() -> Observer:
    """Return an observer that counts nothing."""
    return cast("Observer", _Quiet())


@dataclass(frozen=True, slots=True)
class Listing:
    """How the account's task list behaves."""

    stale: float = 0.0
    """It shows the account as it was so many seconds ago."""
    page_size: int = 100
    """The most rows of a page, whatever is asked for."""
    shuffled: bool = False
    refused: bool = False
    stops_at: float = math.inf
    """From this moment on it says the same."""
    honest: bool = True
    """Otherwise it says that its first page is all there is."""


@dataclass(slots=True)
class _TimedTask:
    task_id: str
    submitted: float
    seconds: float
    """It will run so long."""
    scheduled: float = math.inf
    ended: float = math.inf

    def status(self, at: float) -> TaskStatus:
        if at < self.scheduled:
            return TaskStatus.PENDING
        return TaskStatus.RUNNING if at < self.ended else TaskStatus.SUCCEEDED


@dataclass(slots=True)
class SimulatedDashScope:
    """
    Answers gateway.edits.ports.DashScope for one account.

    A call takes 5 to 30 ms each way; the one that arrives as number *calls_per_second* + 1
    within any second is throttled. At most *slots* tasks run, first come first served.
    """

    seconds: Callable[[random.Random], float]
    """Draws how long a task runs."""
    slots: int
    listing: Listing = Listing()
    calls_per_second: int = 20
    name: str = "task"
    failing: float = 0.0
    """The share of calls that get no answer."""
    clock_error: float = 0.0
    """What the gateway takes upstream's clock to be ahead, and it is not."""
    network: tuple[float, float] = (0.005, 0.030)
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    clock: LoopClock = field(default_factory=LoopClock)
    calls: Counter[str] = field(default_factory=Counter)
    throttled: int = 0
    most_in_a_second: int = 0
    tasks_by_id: dict[str, _TimedTask] = field(default_factory=dict)
    _alive: dict[str, _TimedTask] = field(default_factory=dict)
    """Those that the list may still show as running."""
    _free_at: list[float] = field(default_factory=list)
    _arrived: deque[float] = field(default_factory=deque)

    def begin(self) -> str:
        """Submit a task here and now; return its id."""
        now = self.clock.now()
        task = _TimedTask(f"{self.name}-{len(self.tasks_by_id)}", now, self.seconds(self.chance))
        free = heapq.heappop(self._free_at) if len(self._free_at) >= self.slots else 0.0
        task.scheduled = max(now + 0.025, free)
        task.ended = task.scheduled + task.seconds
        heapq.heappush(self._free_at, task.ended)
        self.tasks_by_id[task.task_id] = self._alive[task.task_id] = task
        return task.task_id

    async def upload(
        self,
        upstream: Upstream,  # noqa: ARG002 - the port's
        edit: Edit,  # noqa: ARG002
        part: Part,  # noqa: ARG002
        pictures: tuple[Picture, ...],
    ) -> tuple[Picture, ...]:
        return pictures

    async def submit(
        self,
        upstream: Upstream,  # noqa: ARG002 - the port's
        edit: Edit,  # noqa: ARG002
        part: Part,  # noqa: ARG002
        pictures: tuple[Picture, ...],  # noqa: ARG002
        intent: Intent,  # noqa: ARG002
    ) -> Accepted:
        await self._travel()
        task_id = self.begin()
        await self._travel()
        return Accepted(task_id, f"req-{task_id}")

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:  # noqa: ARG002
        await self._arrive("fetch")
        task, now = self.tasks_by_id[task_id], self.clock.now()
        status = task.status(now)
        times = Times(
            self._stamp(task.submitted),
            self._stamp(task.scheduled) if status is not TaskStatus.PENDING else None,
            self._stamp(task.ended) if status.ended else None,
        )
        await self._travel()
        results = (ResultImage("https://store.test/picture.png"),) if status.ended else ()
        return Task(task_id, status, results, times=times)

    async def tasks(
        self,
        upstream: Upstream,  # noqa: ARG002
        *,
        since: float,
        until: float,
        status: TaskStatus | None = None,
        page: int = 1,
        page_size: int = 100,
    ) -> TaskPage:
        await self._arrive("list")
        if self.listing.refused:
            await self._travel()
            raise UpstreamUnavailable("refused", upstream_code="AccessDenied")
        rows = self.rows_of(since, until, status)
        size = min(page_size, self.listing.page_size)
        pages = max(1, -(-len(rows) // size))
        await self._travel()
        shown = tuple(rows[(page - 1) * size : page * size])
        if not self.listing.honest:
            return TaskPage(tuple(rows[:size]), total=len(shown), pages=1)
        return TaskPage(shown, total=len(rows), pages=pages)

    async def cancel(self, upstream: Upstream, task_id: str) -> bool:  # noqa: ARG002
        await self._arrive("cancel")
        await self._travel()
        return False

    def clock_known(self, region: str) -> bool:  # noqa: ARG002 - it is asked nothing before a submit
        return True

    def clock_offset(self, region: str) -> float:  # noqa: ARG002
        return self.clock_error

    async def open(self, upstream: Upstream, url: str) -> bytes:
        return await self.download(upstream, url)

    async def download(self, upstream: Upstream, url: str) -> bytes:  # noqa: ARG002
        await self._travel()
        return b"picture"

    def rows_of(self, since: float, until: float, status: TaskStatus | None) -> list[TaskRow]:
        """Return what the list holds of that window, as it sees the account."""
        seen = min(self.clock.now() - self.listing.stale, self.listing.stops_at)
        gone = [key for key, task in self._alive.items() if task.ended < seen - 60.0]
        for key in gone:
            del self._alive[key]
        rows = [
            TaskRow(task.task_id, task.status(seen), "wan", self._stamp(task.submitted))
            for task in self._alive.values()
            if task.submitted <= seen and since <= self._stamp(task.submitted) <= until
        ]
        rows = [row for row in rows if status is None or row.status is status]
        if self.listing.shuffled:
            self.chance.shuffle(rows)
        return rows

    async def _arrive(self, operation: str) -> None:
        await self._travel()
        self.calls[operation] += 1
        now = self.clock.now()
        while self._arrived and self._arrived[0] <= now - 1.0:
            self._arrived.popleft()
        self.most_in_a_second = max(self.most_in_a_second, len(self._arrived) + 1)
        if len(self._arrived) >= self.calls_per_second:
            self.throttled += 1  # and not counted against the second
            await self._travel()
            raise Throttled("Requests throttling triggered.")
        self._arrived.append(now)
        if self.failing and self.chance.random() < self.failing:
            await self._travel()
            raise UpstreamUnreachable("cut")

    async def _travel(self) -> None:
        await asyncio.sleep(self.chance.uniform(*self.network))

    def _stamp(self, at: float) -> float:
        return _CALENDAR + at


def warped(main: Callable[[], Any]) -> Any:
    """Run ``main()`` to its end in warped time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main())
