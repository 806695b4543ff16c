"""A bounded snapshot of what is going on: no await, no change."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.domain.clock import Clock, Phase
from gateway.domain.snapshot import (
    AccountSeen,
    Budget,
    Capped,
    EditSeen,
    KeySeen,
    Snapshot,
    TenantSeen,
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
    """The edits by what is to be shown of them, in order of arrival."""

    running: list[ActiveEdit] = field(default_factory=list)
    waiting: list[ActiveEdit] = field(default_factory=list)
    kept: list[ActiveEdit] = field(default_factory=list)


def overview(
    tenants: Iterable[Tenant],
    accounts: Iterable[AccountState],
    active_edits: Iterable[ActiveEdit],
    clock: Clock,
) -> Snapshot:
    """
    Look at everything once.

    However many edits there are, each costs one look at its stage; only the first of each
    group are described.
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


def _edits(active_edits: Sequence[ActiveEdit], most: int, clock: Clock) -> Capped[EditSeen]:
    return Capped(tuple(_edit(active, clock) for active in active_edits[:most]), len(active_edits))


def _edit(active: ActiveEdit, clock: Clock) -> EditSeen:
    told = active.told
    phases = tuple((phase.value, round(at, 3)) for at, phase in _marks(active))
    # One that another process began has no marks before it is followed here. Whole seconds,
    # since the calendar and the monotonic clock drift apart by less from look to look.
    asked = float(round(clock.now() - (clock.epoch() - active.created)))
    return EditSeen(
        edit_id=told.edit_id,
        tenant=active.tenant.name,
        region=told.region,
        accounts=told.accounts,
        model=active.edit.model,
        pictures=active.edit.n,
        stage=_stage(active),
        clients=active.life.connected,
        since=phases[0][1] if phases else asked,
        phases=phases,
        tasks=told.task_ids,
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
    Return when *edit* entered each phase, as far as is known.

    Until a task has ended, gateway.edits writes its time upstream as one wait; what the looks
    at it saw splits that. One that nobody has looked at yet is taken to run.
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
    """Say whether the last look saw it wait upstream, by itself or in the list."""
    return watch.status is TaskStatus.PENDING and watch.polls > 0 and not watch.listed_at


def _accounts(accounts: list[AccountState], now: float) -> Capped[AccountSeen]:
    """Describe the accounts; one with a key at rest comes first, then the busiest."""

    def order(account: AccountState) -> tuple[bool, int]:
        return not account.suspensions, account.queue.free - account.queue.waiting

    first = (
        sorted(accounts, key=order)[:MOST_ACCOUNTS] if len(accounts) > MOST_ACCOUNTS else accounts
    )
    return Capped(tuple(_account(account, now) for account in first), len(accounts))


def _account(account: AccountState, now: float) -> AccountSeen:
    limits = account.limits
    return AccountSeen(
        name=limits.name,
        region=limits.region,
        taken=limits.running_tasks + limits.pending_ahead - account.queue.free,
        running_tasks=limits.running_tasks,
        pending_ahead=limits.pending_ahead,
        waiting=account.queue.waiting,
        typical=round(account.durations.typical(), 1),
        submits=_budget(limits.submits_per_second, account.submit_limiter),
        polls=_budget(limits.polls_per_second, account.call_limiter),
        keys=tuple(_key(account, upstream.name, now) for upstream in account.upstreams),
    )


def _budget(per_second: float, limiter: RateLimiter) -> Budget:
    return Budget(per_second, round(limiter.used, 3), round(limiter.factor, 2))


def _key(account: AccountState, name: str, now: float) -> KeySeen:
    suspension = account.suspensions.get(name)
    if suspension is None:
        return KeySeen(name, "works")
    state = "rests" if suspension.until > now else "doubted"
    return KeySeen(name, state, suspension.reason, round(suspension.until, 1))


def _tenants(tenants: list[Tenant], groups: _Groups) -> Capped[TenantSeen]:
    """Count the edits of each tenant; the busiest come first."""
    # Also of tenants that are gone from the config.
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for ticket, active_edits in enumerate((groups.running, groups.waiting, groups.kept)):
        for active in active_edits:
            counts[active.tenant.name][ticket] += 1
    busiest = sorted(tenants, key=lambda tenant: -sum(counts[tenant.name]))[:MOST_TENANTS]
    seen = (TenantSeen(one.name, one.region, *counts[one.name]) for one in busiest)
    return Capped(tuple(seen), len(tenants))
