"""The list of running tasks, read whole or not at all."""

import pytest

from gateway.domain.errors import GatewayError, UpstreamFailed, UpstreamUnreachable
from gateway.domain.task import TaskPage, TaskRow
from gateway.edits.listing import running_tasks
from gateway.polling.limiter import RateLimiter
from tests.edits.looking import SlowList
from tests.fakes import FakeDashScope, Run, an_upstream
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio


class Short(FakeDashScope):
    """The list counts one task more than it shows."""

    async def tasks(self, *given: object, **named: object) -> TaskPage:
        page = await super().tasks(*given, **named)  # type: ignore[arg-type]  # passed on as it came
        return TaskPage(page.rows, total=page.total + 1, pages=1)


async def read(world: FakeDashScope, *, enough: int = 99) -> list[TaskRow] | None:
    return await running_tasks(
        an_upstream(),
        dashscope=world,
        clock=world.clock,
        calls=RateLimiter(20.0, world.clock),
        worth=lambda pages: pages <= enough,
    )


def a_world(running: int, kind: type[FakeDashScope] = FakeDashScope) -> FakeDashScope:
    world = kind(WarpClock())
    for _ in range(running):
        world.stranger("a cat", run=Run(0.0, 60.0))
    world.stranger("waits", run=Run(60.0, 60.0))
    return world


async def test_all_pages() -> None:
    """Every running task is there, whatever the size of a page; pending ones are not."""
    world = a_world(25)
    world.page_limit = 10

    rows = await read(world)

    assert rows is not None
    assert len({row.task_id for row in rows}) == 25
    assert world.count("tasks") == 3


async def test_more_pages_than_are_worth_it() -> None:
    """After the first page it is known that fetches tell more."""
    world = a_world(25)
    world.page_limit = 10

    assert await read(world, enough=2) is None
    assert world.count("tasks") == 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        pytest.param(SlowList, UpstreamUnreachable, id="too slow"),
        pytest.param(Short, UpstreamFailed, id="rows are missing"),
    ],
)
async def test_no_list(kind: type[FakeDashScope], error: type[GatewayError]) -> None:
    """A list that is late, or not whole, is none: what it lacks would prove nothing."""
    with pytest.raises(error):
        await read(a_world(3, kind))
