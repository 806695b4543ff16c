"""An account's running tasks, read page by page."""

import asyncio
from collections.abc import Callable

from gateway.domain.clock import Clock
from gateway.domain.errors import UpstreamFailed, UpstreamUnreachable
from gateway.domain.task import TaskPage, TaskRow, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.ports import DashScope
from gateway.polling.limiter import RateLimiter

_PATIENCE = 3.0  # a slower list is of no use
_PAGE_SIZE = 100
_LONGEST_TASK = 4 * 3600.0  # dashscope.md 7.6: a task ends within 3 hours


async def running_tasks(
    upstream: Upstream,
    *,
    dashscope: DashScope,
    clock: Clock,
    calls: RateLimiter,
    worth: Callable[[int], bool],
) -> list[TaskRow] | None:
    """
    Return the RUNNING rows of the account of *upstream*; ``None`` if they are not worth it.

    *worth* is asked with the number of pages after each; the first has its turn of *calls*.

    Raises:
        GatewayError: the list refused, is too slow, or cannot be read whole.
    """
    now = clock.epoch() + dashscope.clock_offset(upstream.region.name)
    rows: list[TaskRow] = []
    number = 1
    while True:
        page = await _page(dashscope, upstream, now, number)
        rows.extend(page.rows)
        if not worth(max(1, page.pages)):
            return None
        if number >= page.pages or not page.rows:
            return rows
        number += 1
        await calls.acquire("polls")


async def _page(dashscope: DashScope, upstream: Upstream, now: float, number: int) -> TaskPage:
    try:
        async with asyncio.timeout(_PATIENCE):
            page = await dashscope.tasks(
                upstream,
                since=now - _LONGEST_TASK,
                until=now + 60.0,
                status=TaskStatus.RUNNING,
                page=number,
                page_size=_PAGE_SIZE,
            )
    except TimeoutError as late:
        raise UpstreamUnreachable("The task list is too slow.") from late
    if page.pages <= 1 and len(page.rows) < page.total:
        raise UpstreamFailed("The task list cannot be read whole.")
    return page
