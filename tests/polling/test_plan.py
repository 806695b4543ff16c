"""gateway.polling.plan: which call comes next, and what its result means."""

from collections.abc import Callable

import pytest

from gateway.domain.errors import (
    GatewayError,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.models import ModelLimits
from gateway.domain.task import ResultImage, Task, TaskPage, TaskRow, TaskStatus, Times
from gateway.polling.plan import Fetch, List, PollingPlan, Wait, Watch, _RunOrder
from gateway.polling.schedule import Durations, Kind
from tests.fakes import an_account, an_upstream

KIND = Kind("wan2.5-i2i-preview", 1, -1)
UPSTREAM = an_upstream()


def a_plan(slots: int = 100, *, durations: Durations | None = None) -> PollingPlan:
    account = an_account(polls_per_second=20, running_tasks=slots)
    return PollingPlan(account, durations or Durations(), rate=lambda: 20.0)


def watched(plan: PollingPlan, count: int, now: float = 0.0) -> list[Watch]:
    return [plan.watch(UPSTREAM, f"task-{n}", KIND, now) for n in range(1, count + 1)]


def page(*watches: Watch, total: int | None = None, pages: int = 1) -> TaskPage:
    rows = tuple(TaskRow(w.task_id, TaskStatus.RUNNING, KIND.model, 0.0) for w in watches)
    return TaskPage(rows, total=len(rows) if total is None else total, pages=pages)


def list_shows(plan: PollingPlan, now: float, *watches: Watch) -> None:
    """Let the list call that is due at *now* show these as RUNNING."""
    plan._list_at = now
    assert plan.next(now) == List(1)
    plan.listed(page(*watches), now, now)


def fetches_at(plan: PollingPlan, now: float) -> list[Watch]:
    """Return the watches whose fetch is due at *now*."""
    due = []
    while isinstance(step := plan.next(now), Fetch):
        due.append(step.watch)
    return due


def a_task(status: TaskStatus, watch: Watch, *, ended: float | None = None) -> Task:
    result = (ResultImage("https://store.test/a.png"),) if status is TaskStatus.SUCCEEDED else ()
    times = Times(0.0, None if status is TaskStatus.PENDING else 0.0, ended)
    return Task(watch.task_id, status, result, times=times)


# The order in which upstream runs tasks.


def an_order(slots: int, count: int) -> tuple[_RunOrder, list[Watch]]:
    order = _RunOrder(lambda _: slots)
    watches = [Watch(UPSTREAM, str(n), KIND, accepted_at=0.0, runs_since=0.0) for n in range(count)]
    for watch in watches:
        order.add(watch)
    return order, watches


def test_each_model_runs_its_own() -> None:
    """Slots are counted by model: a crowd of one is PENDING while another's task runs."""
    order = _RunOrder({"wan": 1, "qwen": 2}.__getitem__)
    kinds = [Kind(model, 1, -1) for model in ("wan", "wan", "qwen", "qwen", "qwen")]
    watches = [
        Watch(UPSTREAM, str(n), kind, accepted_at=0.0, runs_since=0.0)
        for n, kind in enumerate(kinds)
    ]
    for watch in watches:
        order.add(watch)
    seen = (list(order.running), list(order.pending))

    promoted = [order.remove(watches[n]) for n in (2, 4, 0)]

    assert seen == (["0", "2", "3"], ["1", "4"])
    assert promoted == [watches[4], None, watches[1]]


def test_first_come_first_run() -> None:
    """As many as there are slots are expected to run; the others are pending, in order."""
    order, watches = an_order(2, 4)

    assert list(order.running) == ["0", "1"]
    assert list(order.pending) == ["2", "3"]
    assert list(order) == watches


def test_an_end_promotes_the_next_one() -> None:
    """The first pending task takes the slot of one that ended."""
    order, watches = an_order(2, 4)

    assert order.remove(watches[0]) is watches[2]
    assert list(order.running) == ["1", "2"]


def test_a_pending_task_that_ends_promotes_none() -> None:
    """One that was cancelled while it was pending leaves no slot."""
    order, watches = an_order(2, 4)

    assert order.remove(watches[2]) is None
    assert list(order.running) == ["0", "1"]
    assert list(order.pending) == ["3"]


def test_a_task_seen_running_takes_one_slot() -> None:
    """One that ran out of turn fills a slot: the next end promotes none for it."""
    order, watches = an_order(2, 4)
    order.promote(watches[3])
    order.promote(watches[3])

    assert list(order.running) == ["0", "1", "3"]
    assert order.remove(watches[0]) is None
    assert order.remove(watches[1]) is watches[2]


# Which call comes next.


def test_other_limits() -> None:
    """More slots promote what waits, at once; tasks are fetched with the keys in force."""
    plan = a_plan(slots=1)
    watches = watched(plan, 3)
    renewed = an_upstream("renewed")

    plan.reconfigure(an_account(running_tasks=2, polls_per_second=5), lambda _: renewed, 50.0)

    assert [watch.runs_since for watch in watches] == [0.0, 50.0, 0.0]
    assert {watch.upstream for watch in watches} == {renewed}
    assert plan._policy.calls_per_second == 5


def test_other_limits_while_a_call_is_under_way() -> None:
    """A task that is being fetched is not fetched a second time."""
    plan = a_plan(slots=1)
    running, waiting = watched(plan, 2)
    for _ in range(99):
        waiting.fetching = waiting.fetching or waiting in fetches_at(plan, 200.0)

    plan.reconfigure(an_account(running_tasks=2), lambda upstream: upstream, 200.0)

    assert waiting.fetching
    assert waiting not in fetches_at(plan, 200.0)
    assert running.fetching


def test_nothing_to_do() -> None:
    """Without tasks there is nothing to wait for."""
    assert a_plan().next(0.0) == Wait(float("inf"))


def test_few_tasks_are_fetched() -> None:
    """Two tasks are fetched one by one, and neither again while its fetch is under way."""
    plan = a_plan()
    first, second = watched(plan, 2)
    step = plan.next(0.0)

    assert isinstance(step, Wait)
    assert 0.2 <= step.until <= 20.0
    assert fetches_at(plan, 20.0) == [first, second]
    assert plan.next(20.0) == Wait(float("inf"))


def test_many_tasks_are_listed() -> None:
    """Three tasks are looked up by one list call, and by no second one while it is under way."""
    plan = a_plan()
    watched(plan, 3)

    assert plan.next(0.0) == List(1)
    step = plan.next(0.0)
    assert isinstance(step, Wait)
    assert step.until >= 20.0


def test_a_list_is_not_worthwhile_any_more() -> None:
    """Once one of three tasks has ended and another, fetches do the work again."""
    plan = a_plan()
    first, second, third = watched(plan, 3)
    list_shows(plan, 0.0, first, second, third)
    plan.forget(first, 1.0)
    plan.forget(second, 1.0)
    plan.next(1.0)

    assert fetches_at(plan, 21.0) == [third]
    assert isinstance(plan.next(21.0), Wait)


def test_every_page_is_requested() -> None:
    """A page that says that there are more is followed by the next, before anything else."""
    plan = a_plan()
    watches = watched(plan, 9)
    plan.next(0.0)
    plan.listed(page(*watches[:5], total=9, pages=2), 0.0, 0.1)

    assert plan.next(0.1) == List(2)
    plan.listed(page(*watches[5:], total=9, pages=2), 0.2, 0.3)
    assert all(watch.listed_at == 0.0 for watch in watches)
    assert isinstance(plan.next(0.3), Wait)


def test_an_empty_page_ends_a_list() -> None:
    """Pages that are announced but empty are not asked for without end."""
    plan = a_plan()
    watches = watched(plan, 9)
    plan.next(0.0)
    plan.listed(page(*watches, total=9, pages=2), 0.0, 0.1)
    plan.next(0.1)
    plan.listed(page(total=9, pages=3), 0.1, 0.2)

    assert isinstance(plan.next(0.2), Wait)


def test_more_pages_than_they_are_worth() -> None:
    """A list of as many pages as tasks is given up after the first, and suspended."""
    plan = a_plan()
    watches = watched(plan, 5)
    plan.next(0.0)
    plan.listed(page(watches[0], total=5, pages=5), 0.0, 0.1)

    assert not isinstance(plan.next(0.1), List)
    assert len(fetches_at(plan, 20.1)) == 5
    assert not isinstance(plan.next(20.1), List)


@pytest.mark.parametrize(
    ("result", "failures"),
    [
        pytest.param(UpstreamUnavailable("refused"), 1, id="refused"),
        pytest.param(UpstreamUnreachable("too slow"), 3, id="unreachable"),
        pytest.param(page(total=5), 3, id="fewer rows than it counts"),
    ],
)
def test_a_list_that_cannot_be_read(result: TaskPage | GatewayError, failures: int) -> None:
    """A list that refuses or cannot be read whole proves nothing, and is suspended in the end."""
    plan = a_plan()
    watches = watched(plan, 5)
    lists = 0
    for now in range(10):
        if plan.next(float(now)) == List(1):
            lists += 1
            plan.listed(result, float(now), float(now))

    assert lists == failures
    assert all(watch.missing_at == 0.0 for watch in watches)


def test_a_throttled_list_is_no_failure() -> None:
    """A 429 is the rate limit's business: the list is called again a second later."""
    plan = a_plan()
    watched(plan, 5)
    for now in range(10):
        assert plan.next(float(now)) == List(1)
        plan.listed(Throttled("slow"), float(now), float(now))


def test_lost_calls_are_planned_again() -> None:
    """After a bug has ended the loop, every task and the list are planned again."""
    few, many = a_plan(), a_plan()
    first, second = watched(few, 2)
    watched(many, 5)
    assert few.next(20.0) == Fetch(first)
    assert many.next(0.0) == List(1)
    few.restart(20.0)
    many.restart(0.0)

    assert set(fetches_at(few, 40.0)) == {first, second}
    assert many.next(0.0) == List(1)


def test_a_task_that_joins_before_its_end_is_due() -> None:
    """A planned list is moved up for a task that is likely to end before."""
    durations = Durations()
    for number in range(40):
        durations.learn(KIND, 20.0 + 0.05 * number)
    plan = a_plan(durations=durations)
    watches = watched(plan, 5)
    list_shows(plan, 0.0, *watches)
    before = plan.next(0.0)
    plan.watch(UPSTREAM, "old", KIND, 0.0, age=19.5)
    after = plan.next(0.0)

    assert before == Wait(5.0)
    assert isinstance(after, Wait)
    assert after.until <= 1.0


def test_the_next_known_end_is_not_skipped() -> None:
    """Long before the usual end a list can wait, but not for longer than until that end."""
    durations = Durations()
    for number in range(40):
        durations.learn(KIND, 20.0 + 0.05 * number)
    plan = a_plan(durations=durations)
    watches = watched(plan, 5)

    assert plan._list_pause(watches, 3.5) == 5.0
    assert 3.0 <= plan._list_pause(watches, 17.0) <= 3.5
    assert plan._list_pause([], 0.0) == 5.0


# What a fetch means.


def fail(watch: Watch) -> GatewayError:
    return UpstreamUnreachable(f"{watch.task_id} cannot be fetched")


def unknown(watch: Watch) -> Task:
    return Task(watch.task_id, TaskStatus.UNKNOWN, fault=UpstreamFailed("unknown"))


def running(watch: Watch) -> Task:
    return a_task(TaskStatus.RUNNING, watch)


def succeeded(watch: Watch) -> Task:
    return a_task(TaskStatus.SUCCEEDED, watch, ended=10.0)


def without_result(watch: Watch) -> Task:
    return Task(watch.task_id, TaskStatus.SUCCEEDED)


Result = Callable[[Watch], Task | GatewayError]


@pytest.mark.parametrize(
    ("age", "results", "ends"),
    [
        pytest.param(60.0, [running, succeeded], [False, True], id="an end"),
        pytest.param(60.0, [unknown, unknown], [False, True], id="unknown, old: at the second"),
        pytest.param(0.0, [unknown] * 3, [False, False, True], id="unknown, new: at the third"),
        pytest.param(60.0, [unknown, succeeded], [False, True], id="one replica lagged"),
        pytest.param(60.0, [without_result] * 2, [False, True], id="no result, twice"),
        pytest.param(60.0, [fail] * 9 + [succeeded], [False] * 9 + [True], id="failures"),
        pytest.param(60.0, [succeeded, succeeded], [True, False], id="an end counts once"),
    ],
)
def test_which_result_is_an_end(age: float, results: list[Result], ends: list[bool]) -> None:
    """An end is believed when a fetch shows it; UNKNOWN takes two, or three of a new task."""
    plan = a_plan()
    watch = plan.watch(UPSTREAM, "task-1", KIND, 0.0, age=age)
    found = [plan.fetched(watch, result(watch), 1.0, 1.1) for result in results]

    assert found == ends
    assert watch.ended


def test_failed_fetches_are_repeated() -> None:
    """A failed fetch is repeated after 0.5, 1, 2, 4, 5, 5 s."""
    plan = a_plan()
    watch = plan.watch(UPSTREAM, "task-1", KIND, 0.0)
    waits = []
    for _ in range(6):
        plan.fetched(watch, fail(watch), 100.0, 100.0)
        step = plan.next(100.0)
        assert isinstance(step, Wait)
        waits.append(step.until - 100.0)

    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_the_key_of_another_upstream() -> None:
    """After a failover the task is fetched with the other key."""
    plan = a_plan()
    watch = plan.watch(UPSTREAM, "task-1", KIND, 0.0)
    other = an_upstream("other")
    plan.move(watch, other)

    assert watch.upstream is other
    assert plan.any_watch() is watch


def test_how_long_it_ran_is_learned_by_upstreams_clock() -> None:
    """The length counts from the start to the end that DashScope tells, whatever its calendar."""
    durations = Durations()
    plan = a_plan(durations=durations)
    for number in range(8):
        watch = plan.watch(UPSTREAM, str(number), KIND, 1000.0)
        times = Times(submitted=5e8, scheduled=5e8 + 2.0, ended=5e8 + 9.0)
        task = Task(str(number), TaskStatus.FAILED, times=times)
        plan.fetched(watch, task, 1020.0, 1020.0)

    assert durations.known(KIND) == pytest.approx([7.0] * 8)
    assert watch.ended_at == 1009.0


def test_a_task_is_forgotten_once() -> None:
    """Who is forgotten twice makes room for one task only."""
    plan = a_plan(slots=1)
    first, second, third = watched(plan, 3)
    plan.forget(first, 1.0)
    plan.forget(first, 1.0)

    assert list(plan._watches.running) == [second.task_id]
    assert list(plan._watches.pending) == [third.task_id]


# What a list means.


def test_a_task_that_is_gone_from_the_list_is_fetched() -> None:
    """Of three that the list showed, the one that it shows no more is fetched at once."""
    plan = a_plan()
    first, second, third = watched(plan, 3)
    list_shows(plan, 1.0, first, second, third)
    list_shows(plan, 2.0, first, third)

    assert fetches_at(plan, 2.0) == [second]


@pytest.mark.parametrize(
    ("runs_for", "slots", "fetched"),
    [
        pytest.param(0.2, 100, False, id="too new"),
        pytest.param(1.0, 100, True, id="it should run"),
        pytest.param(1.0, 3, False, id="others may have its slot"),
        pytest.param(6.0, 3, True, id="they have had it for long"),
    ],
)
def test_a_task_that_the_list_never_showed(runs_for: float, slots: int, *, fetched: bool) -> None:
    """It may be pending, or so quick that no list met it: it is fetched when it should run."""
    plan = a_plan(slots)
    *others, unseen = watched(plan, 3, 10.0 - runs_for)
    stranger = Watch(UPSTREAM, "stranger", KIND, accepted_at=0.0, runs_since=0.0)
    list_shows(plan, 10.0, *others, stranger)

    assert fetches_at(plan, 10.0) == ([unseen] if fetched else [])


def test_a_task_that_runs_out_of_turn() -> None:
    """A task that the list shows running is expected to run, whatever the order."""
    plan = a_plan(slots=3)
    watches = watched(plan, 6)
    list_shows(plan, 50.0, *watches[:3], watches[4])

    assert list(plan._watches.running) == ["task-1", "task-2", "task-3", "task-5"]
    assert list(plan._watches.pending) == ["task-4", "task-6"]
    assert watches[4].runs_since == 50.0


def test_missed_before_it_ran() -> None:
    """A task that the next list shows running is missed no more, though its fetch still waits."""
    plan = a_plan()
    first, second, third = watched(plan, 3)
    list_shows(plan, 1.0, second, third)
    missed_at = first.missing_at
    list_shows(plan, 1.5, first, second, third)

    assert missed_at == 1.0
    assert first.missing_at == 0.0


def test_a_false_alarm() -> None:
    """A task that the list missed though it runs is not fetched for the next one that does."""
    plan = a_plan()
    first, second, third = watched(plan, 3)
    list_shows(plan, 1.0, first, second, third)
    list_shows(plan, 2.0, second, third)
    assert fetches_at(plan, 2.0) == [first]
    plan.fetched(first, running(first), 2.0, 2.1)
    list_shows(plan, 3.0, second, third)
    believed_at_once = fetches_at(plan, 3.0)
    list_shows(plan, 4.2, second, third)

    assert believed_at_once == []
    assert fetches_at(plan, 4.2) == [first]
    assert plan._policy.false_alarms == 1


@pytest.mark.parametrize(
    ("sent_at", "again"),
    [
        pytest.param(1.9, True, id="sent before the list was read"),
        pytest.param(2.0, False, id="sent after"),
    ],
)
def test_a_fetch_that_the_list_overtook(sent_at: float, *, again: bool) -> None:
    """What a fetch found before the list missed its task proves nothing: it is repeated."""
    plan = a_plan()
    first, second, third = watched(plan, 3)
    list_shows(plan, 1.0, first, second, third)
    plan._list_at = 2.0
    plan._plan(first, 1.8)
    assert fetches_at(plan, 1.9) == [first]
    list_shows(plan, 2.0, second, third)
    plan.fetched(first, running(first), sent_at, 2.1)

    assert fetches_at(plan, 2.1) == ([first] if again else [])
    assert plan._policy.false_alarms == (0 if again else 1)


def test_how_stale_the_list_is() -> None:
    """An end is taken to have come into the list between two calls; the lag is measured."""
    plan = a_plan()
    first, second, third = watched(plan, 3)
    list_shows(plan, 12.0, first, second, third)
    list_shows(plan, 13.0, second, third)
    assert fetches_at(plan, 13.0) == [first]
    plan.fetched(first, succeeded(first), 13.0, 13.1)

    assert plan._policy.staleness == pytest.approx(12.5 - 10.0)


def test_what_a_list_missed_is_fetched_though_the_list_is_suspended() -> None:
    """A change to fetches does not delay those that a list has called for."""
    plan = a_plan()
    watches = watched(plan, 5)
    list_shows(plan, 10.0, *watches)
    list_shows(plan, 11.0, *watches[2:])
    plan._policy.suspend(11.0)

    assert fetches_at(plan, 11.0) == watches[:2]


def short_tasks(count: int, *seconds: float) -> PollingPlan:
    """A plan with so many tasks of a kind that has taken *seconds*."""
    durations = Durations()
    for it in seconds * 8:
        durations.learn(KIND, it)
    plan = a_plan(durations=durations)
    watched(plan, count)
    return plan


def lists(plan: PollingPlan) -> bool:
    plan.next(0.0)
    return plan._uses_list


@pytest.mark.parametrize(
    ("count", "seconds", "by_list"),
    [
        pytest.param(8, [0.3], False, id="eight of 0.3 s"),
        pytest.param(9, [0.3], True, id="nine of 0.3 s, 18 a second"),
        pytest.param(20, [1.0], False, id="twenty of 1 s"),
        pytest.param(21, [1.0], True, id="more of 1 s than calls allow"),
        pytest.param(10, [0.2, 3.0], True, id="ends that nobody can foresee"),
        pytest.param(5, [4.1], True, id="long ones"),
        pytest.param(5, [], True, id="nothing known"),
    ],
)
def test_short_tasks_are_fetched(count: int, seconds: list[float], *, by_list: bool) -> None:
    """Each is fetched at its expected end, as long as the calls suffice for that; else listed."""
    assert lists(short_tasks(count, *seconds)) is by_list


def test_a_list_in_use_stays_a_while() -> None:
    """Where fetches would only just suffice, the plan keeps to the way it has."""
    plan = short_tasks(8, 0.3)
    by_fetches = lists(plan)
    plan._uses_list = True
    by_list = lists(plan)
    for watch in list(plan._watches)[:2]:
        plan.forget(watch, 0.0)

    assert (by_fetches, by_list, lists(plan)) == (False, True, False)


def test_a_hidden_end() -> None:
    """A list that shows a task after its end is accused three times over."""
    plan = a_plan()
    first, second, third = watched(plan, 3)
    list_shows(plan, 30.0, first, second, third)
    plan.fetched(first, succeeded(first), 31.0, 31.1)

    assert plan._policy.false_alarms == 3


@pytest.mark.parametrize(("model", "expected"), [("qwen", True), ("wan2.5-i2i-preview", False)])
def test_a_list_full_of_one_model_says_nothing_of_another(model: str, *, expected: bool) -> None:
    """A task that a list misses is fetched, unless the list is full of tasks of its model."""
    limits = {"qwen": ModelLimits(5, 1), KIND.model: ModelLimits(5, 3)}
    account = an_account(polls_per_second=20, by_model=limits)
    plan = PollingPlan(account, Durations(), rate=lambda: 20.0)
    watched(plan, 3)
    plan.watch(UPSTREAM, "q", Kind("qwen", 1, -1), 0.0)
    fetches_at(plan, 0.0)
    plan._uses_list = True
    rows = tuple(TaskRow(f"foreign {n}", TaskStatus.RUNNING, model, 0.0) for n in range(3))
    plan._rows, plan._sent_at = list(rows), 2.0
    plan._read_list(2.0)

    missing = [watch for watch in plan._watches if watch.missing_at and watch.kind == KIND]
    assert bool(missing) is expected
