"""One task that is looked after until its end."""

import asyncio
from dataclasses import dataclass

from gateway.domain.task import Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.journey.schedule import Kind


@dataclass(slots=True, eq=False)
class Watch:
    """Times are on the monotonic clock."""

    upstream: Upstream
    task_id: str
    kind: Kind
    since: float
    """When it was accepted."""
    ended: "asyncio.Future[Task]"
    status: TaskStatus = TaskStatus.PENDING
    polls: int = 0
    missed: int = 0
    unknown: int = 0
    plan: int = 0
    """The number of its valid entry in the poller's plan; older ones are void."""
    looking: bool = False
    """A fetch is under way."""
    seen_running: bool = False
    """By a look at the list."""
    spared_until: float = 0.0
    """The list called it ended and a fetch said no: until then the list is not believed."""
