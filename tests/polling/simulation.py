"""A plan driven by hand on simulated time, without an event loop: tasks, their list, the calls."""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from gateway.domain.errors import UpstreamFailed, UpstreamUnavailable, UpstreamUnreachable
from gateway.domain.task import ResultImage, Task, TaskPage, TaskRow, TaskStatus, Times
from gateway.polling.plan import Fetch, List, PollingPlan, Wait, Watch
from gateway.polling.schedule import Durations, Kind
from tests.fakes import an_account, an_upstream

KIND = Kind("wan2.5-i2i-preview", 1, -1)

Listing = Literal["true", "late", "stuck", "empty", "refused", "random"]


@dataclass(slots=True)
class SimulatedTask:
    accepted: float
    """When its submit was accepted."""
    seconds: float
    """How long it runs."""
    unknown: int = 0
    """So many of its first fetches find it UNKNOWN."""
    begins: float = math.inf
    ends: float = math.inf
    fetches: list[TaskStatus] = field(default_factory=list)
    """What each fetch found."""
    reported: list[float] = field(default_factory=list)
    """When the plan reported its end."""


@dataclass(slots=True)
class Simulation:
    """Plays tasks to their ends. A call leaves each ``1 / rate`` seconds, if the plan has one."""

    tasks: list[SimulatedTask]
    slots: int = 5
    known_slots: int = 5
    """As the account is configured, right or wrong."""
    rate: float = 10.0
    listing: Listing = "true"
    """How the task list behaves."""
    page_size: int = 100
    failing: float = 0.0
    """The share of calls that fail."""
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    now: float = 0.0
    sent: list[float] = field(default_factory=list)
    """When each call left."""
    overlaps: int = 0
    """Calls that left while an equal one was under way."""
    _names: dict[str, SimulatedTask] = field(default_factory=dict)
    _under_way: set[str] = field(default_factory=set)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def play(self, until: float) -> None:
        """Run until no task is left, or *until*."""
        account = an_account(polls_per_second=self.rate, running_tasks=self.known_slots)
        plan = PollingPlan(account, Durations(), rate=lambda: self.rate)
        free_at = [0.0] * self.slots
        for number, task in enumerate(sorted(self.tasks, key=lambda task: task.accepted)):
            task.begins = max(task.accepted, heapq.heappop(free_at))
            task.ends = task.begins + task.seconds
            heapq.heappush(free_at, task.ends)
            self._names[f"task-{number}"] = task
            self._at(task.accepted, partial(self._accept, plan, f"task-{number}"))
        while self.now < until and not all(task.reported for task in self.tasks):
            step = plan.next(self.now)
            if isinstance(step, Wait):
                self._pass(min(step.until, self._events[0][0] if self._events else math.inf))
                continue
            self._send(plan, step)
            self._pass(self.now + 1 / self.rate)

    def _at(self, at: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), event))

    def _pass(self, until: float) -> None:
        """Let time pass and everything happen that is due meanwhile."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until

    def _accept(self, plan: PollingPlan, name: str) -> None:
        plan.watch(an_upstream(), name, KIND, self.now)

    def _send(self, plan: PollingPlan, step: Fetch | List) -> None:
        call = step.watch.task_id if isinstance(step, Fetch) else "list"
        self.overlaps += call in self._under_way
        self._under_way.add(call)
        self.sent.append(self.now)
        sent_at = self.now
        arrives = sent_at + self.chance.uniform(0.01, 0.5)
        answer = (
            partial(self._fetch, plan, step.watch, sent_at)
            if isinstance(step, Fetch)
            else partial(self._list, plan, step.page, sent_at)
        )
        self._at(arrives, answer)

    def _fetch(self, plan: PollingPlan, watch: Watch, sent_at: float) -> None:
        self._under_way.discard(watch.task_id)
        task = self._names[watch.task_id]
        if self.chance.random() < self.failing:
            ended = plan.fetched(watch, UpstreamUnreachable("cut"), sent_at, self.now)
        else:
            found = self._task(watch.task_id)
            task.fetches.append(found.status)
            ended = plan.fetched(watch, found, sent_at, self.now)
        if ended:
            task.reported.append(self.now)

    def _task(self, name: str) -> Task:
        task = self._names[name]
        if len(task.fetches) < task.unknown:
            return Task(name, TaskStatus.UNKNOWN, fault=UpstreamFailed("unknown"))
        status = self._status(task, self.now)
        images = (ResultImage("https://store.test/a.png"),) if status.ended else ()
        times = Times(
            submitted=task.accepted,
            scheduled=task.begins if self.now >= task.begins else None,
            ended=task.ends if status.ended else None,
        )
        return Task(name, status, images, times=times)

    def _status(self, task: SimulatedTask, at: float) -> TaskStatus:
        if at < task.begins:
            return TaskStatus.PENDING
        return TaskStatus.RUNNING if at < task.ends else TaskStatus.SUCCEEDED

    def _list(self, plan: PollingPlan, page: int, sent_at: float) -> None:
        self._under_way.discard("list")
        if self.listing == "refused":
            plan.listed(UpstreamUnavailable("refused"), sent_at, self.now)
        elif self.chance.random() < self.failing:
            plan.listed(UpstreamUnreachable("cut"), sent_at, self.now)
        else:
            plan.listed(self._page(page), sent_at, self.now)

    def _page(self, number: int) -> TaskPage:
        at = self.now - (3.0 if self.listing == "late" else 0.0)
        rows = [
            TaskRow(name, TaskStatus.RUNNING, KIND.model, task.accepted)
            for name, task in self._names.items()
            if task.accepted <= at and self._is_shown(task, at)
        ]
        pages = max(1, math.ceil(len(rows) / self.page_size))
        shown = rows[(number - 1) * self.page_size : number * self.page_size]
        return TaskPage(tuple(shown), total=len(rows), pages=pages)

    def _is_shown(self, task: SimulatedTask, at: float) -> bool:
        running = self._status(task, at) is TaskStatus.RUNNING
        match self.listing:
            case "empty":
                return False
            case "stuck":
                return at >= task.begins
            case "random":
                return self.chance.random() < 0.5
            case _:
                return running
