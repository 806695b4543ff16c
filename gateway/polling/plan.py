"""
Which call an account's running tasks need next: a pure plan, without clock and network.

Few tasks are fetched one by one, each when its end is likely. Many are looked up together by
one list call, and those that it no longer shows as running are fetched. An end is believed
only when a fetch has shown it. docs/polling.md has the reasons and the figures.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.domain.errors import GatewayError, Throttled, UpstreamFailed
from gateway.domain.task import Task, TaskPage, TaskRow, TaskStatus
from gateway.domain.tenant import Account, Upstream
from gateway.polling.list_policy import ListPolicy
from gateway.polling.schedule import (
    Durations,
    Kind,
    fetches_a_second,
    hazard,
    median,
    pause,
    remaining,
    until_known_end,
)

_NEW_TASK_SECONDS = 10.0  # a task younger than this may be unknown only because it is new
_UNKNOWN_SECONDS = 2.0  # until a task that seems to be unknown is fetched again
_SAFETY_SECONDS = 20.0  # at least, between fetches of a task that the list shows
_PENDING_SECONDS = 10.0  # at least, between fetches of a task that should not run yet
_PENDING_LISTED_SECONDS = 45.0  # the same when the list would show it running
_SIDE_SHARE = 0.1  # of the calls: fetches for safety, and those of tasks that should not run yet
_FETCH_SHARE = 0.85  # of the calls; cancels and uncertain submits need some
_SHORT_SECONDS = 4.0  # tasks up to here take no more calls without a list, and are met sooner
_RETRY_SECONDS = 0.5  # after the first failed fetch, twice as long after each further one
_RETRY_MAX = 5.0

_KAPPA = 0.05  # seconds of lag that one list call is worth, by benchmarks/polling.py
_LIST_PAUSE_MAX = 5.0
_LIST_SAMPLE = 20  # tasks that stand for all when the ends to expect are counted
_LIST_RETRY_SECONDS = 1.0
_NEW_SECONDS = 0.3  # a task may run for so long before a list that is not stale shows it,
_FULL_SECONDS = 5.0  # and for so long if others fill the slots that it was expected to have
_MISTRUST_SECONDS = 2.0  # after a false alarm, twice as long after each further one
_MISTRUST_MAX = 30.0


@dataclass(slots=True, eq=False)
class Watch:
    """
    One task that is polled until its end; times are monotonic.

    Only this module writes to it.
    """

    upstream: Upstream
    """Whose key the next fetch uses."""
    task_id: str
    kind: Kind
    accepted_at: float
    runs_since: float
    """When it began to run, as far as is known; of a PENDING task, when that was last seen."""
    status: TaskStatus = TaskStatus.PENDING
    """As last fetched, before its end."""
    ended: bool = False
    ended_at: float = 0.0
    """When it ended; 0: not yet, or DashScope did not say."""
    polls: int = 0
    """Fetches so far."""
    failures: int = 0
    """Failed fetches in a row."""
    listed_at: float = 0.0
    """When the last list was requested that showed it running; 0: none."""
    unknowns: int = 0
    """Fetches that found it unknown, or without a result."""
    entry: int = 0
    """Number of its valid entry in the heap of planned fetches; 0: none."""
    demand: float = 0.0
    """Fetches a second that its last pause amounts to."""
    fetching: bool = False
    missing_at: float = 0.0
    """When the list was requested that missed it, so that it is fetched; 0: none."""
    missed_at: float = -math.inf
    """When that list was read, if a fetch was under way."""
    false_alarms: int = 0
    """How often a list missed it though it had not ended."""
    mistrusted_until: float = 0.0
    """Until then a list that misses it is not believed."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch one task, then call ``fetched``."""

    watch: Watch


@dataclass(frozen=True, slots=True)
class List:
    """Request one page of the RUNNING tasks, then call ``listed``."""

    page: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until then, or until a method of the plan was called."""

    until: float


@dataclass(order=True, slots=True)
class _Entry:
    at: float
    number: int
    watch: Watch = field(compare=False)


class _RunOrder:
    """
    All watches of an account. Of each model the first by submission are expected to run.

    The others wait upstream as PENDING. An end promotes the next one; so does seeing it run.

    Args:
        slots_of: Returns how many tasks of a model run at once.
    """

    def __init__(self, slots_of: Callable[[str], float]) -> None:
        self._slots_of = slots_of
        self.running: dict[str, Watch] = {}
        """Those that are expected to run, by task id."""
        self.pending: dict[str, Watch] = {}
        self._running_of: Counter[str] = Counter()
        self._pending_of: dict[str, dict[str, Watch]] = {}
        """By model, in order of submission."""

    def __iter__(self) -> Iterator[Watch]:
        yield from self.running.values()
        yield from self.pending.values()

    @property
    def models(self) -> Collection[str]:
        """All of which a task was ever expected to run."""
        return self._running_of.keys()

    def add(self, watch: Watch) -> None:
        model = watch.kind.model
        if not self._pending_of.get(model) and self._is_free(model):
            self._run(watch)
        else:
            self.pending[watch.task_id] = watch
            self._pending_of.setdefault(model, {})[watch.task_id] = watch

    def remove(self, watch: Watch) -> Watch | None:
        """Remove *watch*; return the one that was promoted in its place."""
        model = watch.kind.model
        self._remove_pending(watch)
        if self.running.pop(watch.task_id, None) is not None:
            self._running_of[model] -= 1
        pending = self._pending_of.get(model)
        if not pending or not self._is_free(model):
            return None
        successor = next(iter(pending.values()))
        self.promote(successor)
        return successor

    def promote_free(self) -> list[Watch]:
        """Promote what may run by now; return it."""
        promoted = []
        for watch in list(self.pending.values()):
            if self._is_free(watch.kind.model):
                self.promote(watch)
                promoted.append(watch)
        return promoted

    def promote(self, watch: Watch) -> None:
        if self._remove_pending(watch):
            self._run(watch)

    def _is_free(self, model: str) -> bool:
        return self._running_of[model] < self._slots_of(model)

    def _run(self, watch: Watch) -> None:
        self.running[watch.task_id] = watch
        self._running_of[watch.kind.model] += 1

    def _remove_pending(self, watch: Watch) -> bool:
        if self.pending.pop(watch.task_id, None) is None:
            return False
        del self._pending_of[watch.kind.model][watch.task_id]
        return True


class PollingPlan:
    """
    Plans the calls for an account's tasks, and learns from their results.

    ``next`` returns a step. Its caller performs it and reports to ``fetched`` or ``listed``;
    up to then that task, or the list, is not in any further step. Several steps may be under
    way at once. The caller keeps the account's rate limit.

    Args:
        account: Its limits.
        durations: How long such tasks took; learns from those that end.
        rate: Returns the calls a second that are allowed now.
    """

    def __init__(self, account: Account, durations: Durations, rate: Callable[[], float]) -> None:
        self._account = account
        self._durations = durations
        self._rate = rate
        self._watches = _RunOrder(self._slots_of)
        self._entries: list[_Entry] = []
        self._number = 0
        self._demand = 0.0
        """Fetches a second that the pauses of all tasks amount to."""
        self._policy = ListPolicy(account.polls_per_second)
        self._uses_list = False
        self._list_at = 0.0
        self._listing = False
        self._page = 1
        """The page to request next; above 1 while a list is read."""
        self._rows: list[TaskRow] = []
        self._sent_at = 0.0

    def watch(
        self, upstream: Upstream, task_id: str, kind: Kind, now: float, *, age: float = 0.0
    ) -> Watch:
        """Begin to poll a task that was accepted *age* seconds ago."""
        since = now - age
        watch = Watch(
            upstream=upstream, task_id=task_id, kind=kind, accepted_at=since, runs_since=since
        )
        self._watches.add(watch)
        self._plan_next(watch, now)
        return watch

    def forget(self, watch: Watch, now: float) -> None:
        """Stop polling a task; does nothing if it has ended, or was forgotten before."""
        if watch.ended:
            return
        watch.ended = True
        watch.entry = 0
        self._set_demand(watch, 0.0)
        successor = self._watches.remove(watch)
        if successor is not None:
            successor.runs_since = watch.ended_at or now
            if not successor.fetching:
                self._plan_next(successor, now)

    def any_watch(self) -> Watch | None:
        """Return a watch whose upstream can list the account's tasks; ``None``: there is none."""
        return next(iter(self._watches), None)

    def move(self, watch: Watch, upstream: Upstream) -> None:
        """Fetch *watch* with the key of *upstream* from now on."""
        watch.upstream = upstream

    def reconfigure(
        self, account: Account, renewed: Callable[[Upstream], Upstream], now: float
    ) -> None:
        """Go by other limits from now on, and by the keys that *renewed* returns."""
        self._account = account
        self._policy.calls_per_second = account.polls_per_second
        for watch in self._watches:
            watch.upstream = renewed(watch.upstream)
        for watch in self._watches.promote_free():
            watch.runs_since = now
            if not watch.fetching:
                self._plan_next(watch, now)

    def restart(self, now: float) -> None:
        """Plan again what was under way: its results will not be reported."""
        self._listing = False
        self._end_list()
        for watch in self._watches:
            if watch.fetching:
                watch.fetching = False
                self._plan_next(watch, now)

    def next(self, now: float) -> Fetch | List | Wait:
        """Return what to do at *now*."""
        self._choose_mode(now)
        until = math.inf
        reading = self._page > 1
        if (self._uses_list or reading) and not self._listing:
            if reading or self._list_at <= now:
                self._listing = True
                return List(self._page)
            until = self._list_at
        entry = self._first_entry()
        if entry is not None:
            if entry.at <= now:
                heapq.heappop(self._entries)
                return self._begin_fetch(entry.watch)
            until = min(until, entry.at)
        return Wait(until)

    def fetched(
        self, watch: Watch, result: Task | GatewayError, sent_at: float, now: float
    ) -> bool:
        """
        Report the result of a ``Fetch`` that was sent at *sent_at*.

        Returns:
            Whether it is the end of the task: True once for each watch.
        """
        watch.fetching = False
        if watch.ended:
            return False
        if isinstance(result, GatewayError):
            wait = min(_RETRY_MAX, _RETRY_SECONDS * 2 ** min(watch.failures, 5))
            watch.failures += 1
            watch.mistrusted_until = now + wait
            self._plan(watch, now + wait)
            return False
        watch.failures = 0
        if result.inconclusive and self._doubts(watch, now):
            self._plan(watch, now + _UNKNOWN_SECONDS)
            return False
        if result.status.ended:
            self._end(watch, result, now)
            return True
        self._go_on(watch, result, sent_at, now)
        return False

    def listed(self, result: TaskPage | GatewayError, sent_at: float, now: float) -> None:
        """Report the result of a ``List`` that was sent at *sent_at*."""
        self._listing = False
        if self._page == 1:
            self._sent_at = sent_at
        if isinstance(result, TaskPage) and result.pages <= 1 and len(result.rows) < result.total:
            result = UpstreamFailed("The task list cannot be read whole.")
        if isinstance(result, GatewayError):
            if not isinstance(result, Throttled):
                self._policy.record_failure(result, self._sent_at)
            self._list_at = self._sent_at + _LIST_RETRY_SECONDS
            self._end_list()
            return
        self._rows.extend(result.rows)
        if self._is_worth_reading(max(1, result.pages), now):
            if self._page < result.pages and result.rows:
                self._page += 1
                return
            self._read_list(now)
        running = self._watches.running.values()
        self._list_at = self._sent_at + self._list_pause(running, self._sent_at)
        self._end_list()

    # Which mode, and when to fetch.

    def _choose_mode(self, now: float) -> None:
        """
        Use the list while that is worthwhile; after a change, plan the tasks again.

        Those that a list missed stay planned for now.
        """
        running = self._watches.running
        uses_list = not self._fetches_suffice() and self._policy.is_worthwhile(
            len(running), now, in_use=self._uses_list
        )
        if uses_list == self._uses_list:
            return
        self._uses_list = uses_list
        for watch in running.values():
            if not watch.fetching and not watch.missing_at:
                self._plan_next(watch, now)

    def _fetches_suffice(self) -> bool:
        """Return whether all that run are short, and few enough for a fetch at each one's end."""
        running = self._watches.running
        known = [self._durations.known(watch.kind) for watch in _sample(running.values())]
        if not known or max(map(median, known)) > _SHORT_SECONDS:
            return False
        calls = sum(map(fetches_a_second, known)) * len(running) / len(known)
        # With a list in use there has to be room to spare, lest the two take turns.
        share = _FETCH_SHARE * (0.8 if self._uses_list else 1.0)
        return calls <= share * self._rate()

    def _first_entry(self) -> _Entry | None:
        while self._entries:
            entry = self._entries[0]
            if entry.watch.entry == entry.number:
                return entry
            heapq.heappop(self._entries)
        return None

    def _begin_fetch(self, watch: Watch) -> Fetch:
        watch.entry = 0
        watch.fetching = True
        watch.polls += 1
        return Fetch(watch)

    def _plan(self, watch: Watch, at: float) -> None:
        """Plan the next fetch of *watch*; this replaces an earlier plan."""
        self._number += 1
        watch.entry = self._number
        heapq.heappush(self._entries, _Entry(at, self._number, watch))

    def _plan_next(self, watch: Watch, now: float) -> None:
        """Plan the next fetch of a task that has not ended, by what is known of such tasks."""
        age = now - watch.runs_since
        known = self._durations.known(watch.kind)
        side_calls = _SIDE_SHARE * self._rate()
        if watch.task_id in self._watches.pending:
            least = _PENDING_LISTED_SECONDS if self._uses_list else _PENDING_SECONDS
            waited = now - watch.accepted_at
            crowd = len(self._watches.pending) / side_calls
            self._plan(watch, now + max(least, 0.5 * waited, crowd))
        elif self._uses_list:
            # The next list was planned without this task, which may end before.
            self._list_at = min(self._list_at, now + self._list_pause([watch], now))
            # The list shows the end; a fetch only guards against a list that does not.
            crowd = len(self._watches.running) / side_calls
            self._plan(watch, now + max(_SAFETY_SECONDS, remaining(known, age, 0.95), crowd))
        else:
            wait = pause(known, age)
            self._set_demand(watch, 1 / wait)
            fetches = _FETCH_SHARE * self._rate()
            # Stretched to fit the limit, but not beyond two rounds of all tasks.
            stretched = wait * max(1.0, self._demand / fetches)
            rounds = 2 * len(self._watches.running) / fetches
            self._plan(watch, now + min(stretched, max(wait, rounds)))

    def _set_demand(self, watch: Watch, rate: float) -> None:
        self._demand += rate - watch.demand
        watch.demand = rate

    # What a fetch shows.

    def _doubts(self, watch: Watch, now: float) -> bool:
        """
        Return whether an UNKNOWN, or a SUCCEEDED without a result, may be a passing error.

        The task may be too new, or one replica may lag. One such answer would lose a paid
        picture, so it takes two, and three of a new task (D22, P4).
        """
        watch.unknowns += 1
        is_new = now - watch.accepted_at < _NEW_TASK_SECONDS
        return watch.unknowns < (3 if is_new else 2)

    def _end(self, watch: Watch, task: Task, now: float) -> None:
        watch.ended_at = _on_our_clock(watch, task, task.times.ended, now) or 0.0
        if task.status in (TaskStatus.SUCCEEDED, TaskStatus.FAILED):
            began = _on_our_clock(watch, task, task.times.scheduled, now) or watch.runs_since
            self._durations.learn(watch.kind, max(0.05, (watch.ended_at or now) - began))
        if watch.missing_at:
            self._policy.record_end()
            if watch.listed_at and watch.ended_at:
                # The end came into the list between two calls.
                shown = (watch.listed_at + watch.missing_at) / 2
                running = len(self._watches.running)
                self._policy.record_lag(shown - watch.ended_at, running, watch.missing_at)
        elif self._uses_list and watch.ended_at < watch.listed_at:
            self._policy.record_hidden_end(now)
        self.forget(watch, now)

    def _go_on(self, watch: Watch, task: Task, sent_at: float, now: float) -> None:
        watch.status = task.status
        if task.status is TaskStatus.RUNNING:
            self._watches.promote(watch)
            began = _on_our_clock(watch, task, task.times.scheduled, now)
            watch.runs_since = began or watch.runs_since
        else:
            watch.runs_since = now
        if watch.missed_at > sent_at:
            # A list missed it while this fetch was under way, and may know better.
            self._plan(watch, now)
            return
        if watch.missing_at:
            watch.missing_at = 0.0
            self._record_false_alarm(watch, now)
        self._plan_next(watch, now)

    def _record_false_alarm(self, watch: Watch, now: float) -> None:
        seconds = min(_MISTRUST_MAX, _MISTRUST_SECONDS * 2 ** min(watch.false_alarms, 5))
        watch.false_alarms += 1
        watch.mistrusted_until = now + seconds + max(0.0, self._policy.staleness)
        was_seen = watch.listed_at or watch.false_alarms > 1
        if watch.status is TaskStatus.RUNNING and was_seen:
            self._policy.record_false_alarm(now)

    # What the list shows.

    def _list_pause(self, watches: Collection[Watch], now: float) -> float:
        """
        Return the seconds until the next list, by how many ends are expected a second.

        A pause of sqrt(2kp/h) makes the sum of calls and lag least, for p pages and h ends
        a second. It is the rule of schedule.pause for all tasks at once, and like that it
        does not reach far beyond the next end that is expected.
        """
        sample = _sample(watches)
        ages = [(self._durations.known(w.kind), now - w.runs_since) for w in sample]
        if not ages:
            return _LIST_PAUSE_MAX
        price = 2 * _KAPPA * self._policy.pages * len(ages) / len(watches)
        wait = _best_pause(price, ages)
        next_end = min(until_known_end(known, age) for known, age in ages)
        if next_end < wait:
            then = _best_pause(price, [(known, age + next_end) for known, age in ages])
            wait = min(wait, next_end + then)
        shortest = min(median(known) for known, _ in ages)
        return max(self._policy.pause_min(shortest), min(_LIST_PAUSE_MAX, wait))

    def _is_worth_reading(self, pages: int, now: float) -> bool:
        """Return whether a list of so many pages finds more than fetches would."""
        self._policy.pages = pages
        running = len(self._watches.running)
        worthwhile = self._policy.is_worthwhile(running, now, in_use=self._uses_list)
        if not worthwhile and pages > 1:
            self._policy.suspend(now)
        return worthwhile

    def _read_list(self, now: float) -> None:
        """Fetch now what ran and is gone from the RUNNING rows."""
        sent_at = self._sent_at
        listed = {row.task_id for row in self._rows if row.status is TaskStatus.RUNNING}
        listed_of = Counter(row.model for row in self._rows if row.task_id in listed)
        self._policy.record_success()
        for watch in [w for w in self._watches.pending.values() if w.task_id in listed]:
            self._watches.promote(watch)
            watch.runs_since = sent_at
        for watch in self._watches.running.values():
            if watch.task_id in listed:
                # An older list may have missed it before it ran, and its fetch not be sent yet.
                watch.listed_at = sent_at
                watch.mistrusted_until = 0.0
                watch.missing_at = 0.0
            elif sent_at >= watch.mistrusted_until and (
                watch.listed_at or self._should_be_listed(watch, sent_at, listed_of)
            ):
                watch.missing_at = sent_at
                if watch.fetching:
                    watch.missed_at = now
                else:
                    self._plan(watch, now)

    def _slots_of(self, model: str) -> float:
        return self._account.limits_of(model).running_tasks or math.inf

    def _should_be_listed(self, watch: Watch, sent_at: float, listed_of: Mapping[str, int]) -> bool:
        """
        Return whether a list that never showed this task should have shown it by now.

        It may be PENDING, or so quick that no list met it. When slots of its model are free it
        should run; when the list is full of them, tasks of others may have its slot. The list
        may show a model by another of its names (dashscope.md 4.2), so only the names that are
        another model's are left out.
        """
        model = watch.kind.model
        others = self._watches.models
        same = sum(rows for it, rows in listed_of.items() if it == model or it not in others)
        is_full = same >= self._slots_of(model)
        grace = (_FULL_SECONDS if is_full else _NEW_SECONDS) + max(0.0, self._policy.staleness)
        return sent_at - watch.runs_since > grace

    def _end_list(self) -> None:
        self._rows = []
        self._page = 1


def _sample(watches: Collection[Watch]) -> list[Watch]:
    """Return some that stand for all: in order of submission, every so many."""
    return list(watches)[:: 1 + len(watches) // _LIST_SAMPLE]


def _on_our_clock(watch: Watch, task: Task, theirs: float | None, now: float) -> float | None:
    """
    Return a time of DashScope's clock on ours, monotonic.

    Both clocks saw the submit, so they need not agree.
    """
    if theirs is None or task.times.submitted is None:
        return None
    return min(now, watch.accepted_at + max(0.0, theirs - task.times.submitted))


def _best_pause(price: float, ages: list[tuple[list[float], float]]) -> float:
    """Return the best pause as long as ends come as at these ages."""
    return float((price / sum(hazard(known, age) for known, age in ages)) ** 0.5)
