"""What is learned of an account's task list: when it helps, when it is left alone."""

import asyncio

import pytest

from gateway.domain.errors import GatewayError, UpstreamUnavailable, UpstreamUnreachable
from gateway.domain.task import TaskRow, TaskStatus
from gateway.edits.glance import Glances
from gateway.edits.watch import Watch, Watches
from gateway.polling.schedule import Durations, Kind
from tests.fakes import an_upstream

pytestmark = pytest.mark.anyio

KIND = Kind("wan2.5-i2i-preview", 1, -1)
MANY = 100


def a_watch(task_id: str = "task-1", *, since: float = 0.0) -> Watch:
    return Watch(
        upstream=an_upstream(),
        task_id=task_id,
        kind=KIND,
        since=since,
        runs_since=since,
        ended=asyncio.get_running_loop().create_future(),
    )


def watched(*task_ids: str, slots: int) -> Watches:
    watches = Watches(slots)
    for task_id in task_ids:
        watches.add(a_watch(task_id))
    return watches


def row(task_id: str) -> TaskRow:
    return TaskRow(task_id, TaskStatus.RUNNING, "wan2.5-i2i-preview", 0.0)


def confirm(glances: Glances, *, lag: float, running: int) -> None:
    """Let the list show an end *lag* seconds late."""
    watch = a_watch()
    watch.ended_at, watch.listed_at, watch.missing_at = 10.0, 9.5 + lag, 10.5 + lag
    glances.confirmed(watch, running)


async def test_one_that_runs_out_of_turn() -> None:
    """A task that the list shows running counts among those that may run, whatever the order."""
    watches = watched("first", "second", "third", slots=1)

    gone = Glances(20.0).read([row("first"), row("third")], watches, 1, 50.0)

    assert gone == []
    assert list(watches.running) == ["first", "third"]
    assert watches.running["third"].runs_since == 50.0
    assert list(watches.behind) == ["second"]


async def test_missed_before_it_ran() -> None:
    """A task that the next look shows running is missed no more, though its fetch still waits."""
    glances, watches = Glances(20.0), watched("first", slots=1)
    gone = glances.read([], watches, 1, 1.0)
    missed_at = gone[0].missing_at
    glances.read([row("first")], watches, 1, 1.5)

    assert missed_at == 1.0
    assert watches.running["first"].missing_at == 0.0


async def test_nothing_to_expect() -> None:
    """When all ended while the list was read the next look can wait."""
    assert Glances(20.0).pause([], Durations(), 0.0) == 5.0


async def test_the_next_known_end_is_not_leapt_over() -> None:
    """Long before the usual end a look can wait, but not for longer than until that end."""
    durations = Durations()
    for number in range(40):
        durations.learn(KIND, 20.0 + 0.05 * number)
    young = [a_watch(str(number), since=96.5) for number in range(5)]

    assert Glances(20.0).pause(young, durations, 100.0) == 5.0
    assert 3.0 <= Glances(20.0).pause(young, durations, 113.5) <= 3.5


@pytest.mark.parametrize(
    ("lag", "running", "pays"),
    [
        pytest.param(0.2, 20, True, id="prompt"),
        pytest.param(3.0, 20, False, id="late: fetches alone see an end after half a second"),
        pytest.param(3.0, 400, True, id="late, but fetches alone would be later"),
    ],
)
async def test_a_list_that_lags(lag: float, running: int, *, pays: bool) -> None:
    """A list that lags more than fetches would is left alone, but not for ever."""
    glances = Glances(20.0)
    for _ in range(3):
        confirm(glances, lag=lag, running=running)

    assert glances.pay(MANY, 20.0) is pays
    assert glances.pay(MANY, 60.0)


async def test_two_late_ends_prove_nothing() -> None:
    """It takes three measured ends to call a list late."""
    glances = Glances(20.0)
    for _ in range(2):
        confirm(glances, lag=3.0, running=20)

    assert glances.pay(MANY, 20.0)


async def test_hidden_ends() -> None:
    """A list that goes on to show tasks that have ended is of no use."""
    glances = Glances(20.0)
    glances.overlooked(1.0)
    glances.overlooked(1.0)
    before = glances.pay(MANY, 2.0)
    glances.overlooked(1.0)

    assert before
    assert not glances.pay(MANY, 2.0)


@pytest.mark.parametrize(
    ("error", "times"),
    [(UpstreamUnavailable("refused"), 1), (UpstreamUnreachable("down"), 3)],
    ids=["refused", "unreachable"],
)
async def test_a_list_that_fails(error: GatewayError, times: int) -> None:
    """A refusal is believed at once, another failure at the third time."""
    glances = Glances(20.0)
    paid = []
    for _ in range(times):
        paid.append(glances.pay(MANY, 1.0))
        glances.failed(error, 1.0)

    assert all(paid)
    assert not glances.pay(MANY, 1.0)


async def test_each_rest_is_longer() -> None:
    """Half a minute, a minute, two: and never more than half an hour."""
    glances = Glances(20.0)
    rests = []
    for _ in range(8):
        glances.suspend(0.0)
        rests.append(glances.resting_until)

    assert rests[:3] == [30.0, 60.0, 120.0]
    assert rests[-1] == 1800.0
