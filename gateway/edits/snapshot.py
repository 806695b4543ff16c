"""Take a snapshot of the running edits and accounts, of bounded size."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.domain.clock import Clock, Phase
from gateway.domain.snapshot import (
    AccountSummary,
    CallRate,
    Capped,
    EditSummary,
    KeySummary,
    Snapshot,
    TenantSummary,
)
from gateway.domain.task import TaskStatus
from gateway.domain.tenant import Tenant
from gateway.edits.account import AccountState
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.lifecycle import Stage
from gateway.polling.limiter import RateLimiter
from gateway.polling.plan import Watch

MOST_RUNNING = 60
MOST_WAITING = 30
MOST_KEPT = 20
MOST_ACCOUNTS = 40
MOST_TENANTS = 60


@dataclass(slots=True)
class _Groups:
    """The edits in the three groups of a snapshot, in order of arrival."""

    running: list[ActiveEdit] = field(default_factory=list)
    waiting: list[ActiveEdit] = field(default_factory=list)
    kept: list[ActiveEdit] = field(default_factory=list)


def take_snapshot(
    tenants: Iterable[Tenant],
    accounts: Iterable[AccountState],
    active_edits: Iterable[ActiveEdit],
    clock: Clock,
) -> Snapshot:
    """
    Return a snapshot of now. It changes nothing.

    Of each group of edits only the first are described, however many there are.
    """
    groups = _Groups()
    for active in active_edits:
        if active.life.stage is Stage.WAITING:
            groups.waiting.append(active)
        elif not active.life.ended:
            groups.running.append(active)
        else:
            (groups.running if active.life.connected else groups.kept).append(active)
    now = clock.now()
    return Snapshot(
        running=_edits(groups.running, MOST_RUNNING, clock),
        waiting=_edits(groups.waiting, MOST_WAITING, clock),
        kept=_edits(groups.kept, MOST_KEPT, clock),
        accounts=_accounts(list(accounts), now),
        tenants=_tenants(list(tenants), groups),
    )


def _edits(active_edits: Sequence[ActiveEdit], most: int, clock: Clock) -> Capped[EditSummary]:
    return Capped(tuple(_edit(active, clock) for active in active_edits[:most]), len(active_edits))


def _edit(active: ActiveEdit, clock: Clock) -> EditSummary:
    status = active.status
    phases = tuple((phase.value, round(at, 3)) for at, phase in _marks(active))
    # An edit of another process has no phases before it is followed here. Whole seconds: the
    # calendar and the monotonic clock drift, and a snapshot changes only when an edit does.
    created = float(round(clock.now() - (clock.epoch() - active.created)))
    return EditSummary(
        edit_id=status.edit_id,
        tenant=active.tenant.name,
        region=status.region,
        accounts=status.accounts,
        model=active.edit.model,
        pictures=active.edit.n,
        stage=_stage(active),
        clients=active.life.connected,
        since=phases[0][1] if phases else created,
        phases=phases,
        tasks=status.task_ids,
        polls=sum(watch.polls for watch in _watches(active)),
    )


def _stage(active: ActiveEdit) -> str:
    stage = active.life.stage
    if stage is Stage.SUCCEEDED:
        return "delivering" if active.life.connected else "kept"
    return "doubtful" if stage is Stage.FAILED else str(stage)


def _watches(active: ActiveEdit) -> list[Watch]:
    return [run.watch for run in active.runs if run.watch is not None]


def _marks(active: ActiveEdit) -> Sequence[tuple[float, Phase]]:
    """
    Return when an edit entered each phase, as far as is known.

    Until a task has ended, its timeline has its time upstream as one wait, which is split
    here by what polls have shown. A task that was not polled yet is taken to run.
    """
    marks = active.timeline.marks
    watches = _watches(active)
    if not marks or marks[-1][1] is not Phase.UPSTREAM_RUNNING or active.life.ended:
        return marks
    accepted = marks[-1][0]
    pending = [*marks[:-1], (accepted, Phase.UPSTREAM_PENDING)]
    if watches and all(_is_pending(watch) for watch in watches):
        return pending
    runs = [it.runs_since for it in watches if it.status is not TaskStatus.PENDING]
    if not runs or min(runs) <= accepted:
        return marks
    return [*pending, (min(runs), Phase.UPSTREAM_RUNNING)]


def _is_pending(watch: Watch) -> bool:
    """Return whether the last poll showed the task as PENDING, and no list as running."""
    return watch.status is TaskStatus.PENDING and watch.polls > 0 and not watch.listed_at


def _accounts(accounts: list[AccountState], now: float) -> Capped[AccountSummary]:
    """Describe the accounts; one with a suspended key comes first, then the busiest."""

    def order(account: AccountState) -> tuple[bool, int]:
        taken, running, ahead = _slots(account)
        return not account.suspensions, running + ahead - taken - account.queue.waiting

    first = (
        sorted(accounts, key=order)[:MOST_ACCOUNTS] if len(accounts) > MOST_ACCOUNTS else accounts
    )
    return Capped(tuple(_account(account, now) for account in first), len(accounts))


def _account(account: AccountState, now: float) -> AccountSummary:
    limits = account.limits
    taken, running, ahead = _slots(account)
    return AccountSummary(
        name=limits.name,
        region=limits.region,
        taken=taken,
        running_tasks=running,
        pending_ahead=ahead,
        waiting=account.queue.waiting,
        typical=round(account.durations.typical(), 1),
        submits=_submits(account),
        polls=_rate(limits.polls_per_second, account.call_limiter),
        keys=tuple(_key(account, upstream.name, now) for upstream in account.upstreams),
    )


def _slots(account: AccountState) -> tuple[int, int, int]:
    """
    Return the slots in use, of how many that may run, and ahead, of the models that have any.

    A model without a limit has as many as it uses.
    """
    used = account.queue.running
    limits = account.limits
    limited = [it for name in used if (it := limits.limits_of(name).running_tasks)]
    unlimited = sum(
        slots for name, slots in used.items() if not limits.limits_of(name).running_tasks
    )
    if not used:
        return 0, limits.running_tasks, limits.pending_ahead
    ahead = len(limited) * limits.pending_ahead
    return sum(used.values()), sum(limited) + unlimited, ahead


def _submits(account: AccountState) -> CallRate:
    """Describe the submits of the model that is slowed most, or used most of its limit."""
    limiters = account.submit_limiters
    if not limiters:
        return CallRate(account.limits.submits_per_second, 0.0, 1.0)
    model = min(limiters, key=lambda name: (limiters[name].factor, -limiters[name].used))
    return _rate(account.limits.limits_of(model).submits_per_second, limiters[model])


def _rate(per_second: float, limiter: RateLimiter) -> CallRate:
    return CallRate(per_second, round(limiter.used, 3), round(limiter.factor, 2))


def _key(account: AccountState, name: str, now: float) -> KeySummary:
    suspension = account.suspensions.get(name)
    if suspension is None:
        return KeySummary(name, "works")
    state = "rests" if suspension.until > now else "doubted"
    return KeySummary(name, state, suspension.reason, round(suspension.until, 1))


def _tenants(tenants: list[Tenant], groups: _Groups) -> Capped[TenantSummary]:
    """Count the edits of each tenant; the busiest come first."""
    # Also of tenants that are gone from the config.
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for group, active_edits in enumerate((groups.running, groups.waiting, groups.kept)):
        for active in active_edits:
            counts[active.tenant.name][group] += 1
    busiest = sorted(tenants, key=lambda tenant: -sum(counts[tenant.name]))[:MOST_TENANTS]
    seen = (TenantSummary(one.name, one.region, *counts[one.name]) for one in busiest)
    return Capped(tuple(seen), len(tenants))
