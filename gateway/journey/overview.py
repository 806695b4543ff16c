"""From what the desk, the lanes and the edits know to one bounded snapshot: no await, no change."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.domain.clock import Clock
from gateway.domain.phases import Phase
from gateway.domain.snapshot import (
    AccountSeen,
    Budget,
    EditSeen,
    KeySeen,
    Snapshot,
    Some,
    TenantSeen,
)
from gateway.domain.task import TaskStatus
from gateway.domain.tenant import Tenant
from gateway.journey.errand import Errand, Stage
from gateway.journey.lane import Lane
from gateway.journey.pace import Pace
from gateway.journey.watch import Watch

MOST_RUNNING = 60
MOST_WAITING = 30
MOST_KEPT = 20
MOST_ACCOUNTS = 40
MOST_TENANTS = 60


@dataclass(slots=True)
class _Groups:
    """The edits by what is to be shown of them, in order of arrival."""

    running: list[Errand] = field(default_factory=list)
    waiting: list[Errand] = field(default_factory=list)
    kept: list[Errand] = field(default_factory=list)


def overview(
    tenants: Iterable[Tenant], lanes: Iterable[Lane], errands: Iterable[Errand], clock: Clock
) -> Snapshot:
    """
    Look at everything once.

    However many edits there are, each costs one look at its stage; only the first of each
    group are described.
    """
    groups = _Groups()
    for errand in errands:
        if errand.stage is Stage.WAITING:
            groups.waiting.append(errand)
        elif not errand.ended:
            groups.running.append(errand)
        else:
            (groups.running if errand.visitors else groups.kept).append(errand)
    now = clock.now()
    return Snapshot(
        running=_edits(groups.running, MOST_RUNNING, clock),
        waiting=_edits(groups.waiting, MOST_WAITING, clock),
        kept=_edits(groups.kept, MOST_KEPT, clock),
        accounts=_accounts(list(lanes), now),
        tenants=_tenants(list(tenants), groups),
    )


def _edits(errands: Sequence[Errand], most: int, clock: Clock) -> Some[EditSeen]:
    return Some(tuple(_edit(errand, clock) for errand in errands[:most]), len(errands))


def _edit(errand: Errand, clock: Clock) -> EditSeen:
    told = errand.told
    phases = tuple((phase.value, round(at, 3)) for at, phase in _marks(errand))
    # One that another process began has no marks before it is followed here. Whole seconds,
    # since the calendar and the monotonic clock drift apart by less from look to look.
    asked = float(round(clock.now() - (clock.epoch() - errand.created)))
    return EditSeen(
        edit_id=told.edit_id,
        tenant=errand.tenant.name,
        region=told.region,
        accounts=told.accounts,
        model=errand.edit.model,
        pictures=errand.edit.n,
        stage=_stage(errand),
        customers=errand.visitors,
        since=phases[0][1] if phases else asked,
        phases=phases,
        tasks=told.task_ids,
        polls=sum(watch.polls for watch in _watches(errand)),
    )


def _stage(errand: Errand) -> str:
    if errand.stage is Stage.SUCCEEDED:
        return "delivering" if errand.visitors else "kept"
    return "doubtful" if errand.stage is Stage.FAILED else str(errand.stage)


def _watches(errand: Errand) -> list[Watch]:
    return [leg.watch for leg in errand.legs if leg.watch is not None]


def _marks(errand: Errand) -> list[tuple[float, Phase]]:
    """
    Return when *errand* entered each phase, as far as is known.

    Until a task has ended, the journey writes its time upstream as one wait; what the looks
    at it saw splits that. One that nobody has looked at yet is taken to run.
    """
    marks = errand.marks
    watches = _watches(errand)
    if not marks or marks[-1][1] is not Phase.UPSTREAM_RUNNING or errand.ended:
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


def _accounts(lanes: list[Lane], now: float) -> Some[AccountSeen]:
    """Describe the accounts; one with a key at rest comes first, then the busiest."""

    def order(lane: Lane) -> tuple[bool, int]:
        return not lane.resting, lane.line.free - lane.line.waiting

    first = sorted(lanes, key=order)[:MOST_ACCOUNTS] if len(lanes) > MOST_ACCOUNTS else lanes
    return Some(tuple(_account(lane, now) for lane in first), len(lanes))


def _account(lane: Lane, now: float) -> AccountSeen:
    account = lane.account
    return AccountSeen(
        name=account.name,
        region=account.region,
        taken=account.running_tasks + account.pending_ahead - lane.line.free,
        running_tasks=account.running_tasks,
        pending_ahead=account.pending_ahead,
        waiting=lane.line.waiting,
        typical=round(lane.durations.typical(), 1),
        submits=_budget(account.submits_per_second, lane.submits),
        polls=_budget(account.polls_per_second, lane.calls),
        keys=tuple(_key(lane, upstream.name, now) for upstream in lane.upstreams),
    )


def _budget(per_second: float, pace: Pace) -> Budget:
    return Budget(per_second, round(pace.used, 3), round(pace.factor, 2))


def _key(lane: Lane, name: str, now: float) -> KeySeen:
    rest = lane.resting.get(name)
    if rest is None:
        return KeySeen(name, "works")
    state = "rests" if rest.until > now else "doubted"
    return KeySeen(name, state, rest.reason, round(rest.until, 1))


def _tenants(tenants: list[Tenant], groups: _Groups) -> Some[TenantSeen]:
    """Count the edits of each tenant; the busiest come first."""
    # Also of tenants that are gone from the config.
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for place, errands in enumerate((groups.running, groups.waiting, groups.kept)):
        for errand in errands:
            counts[errand.tenant.name][place] += 1
    busiest = sorted(tenants, key=lambda tenant: -sum(counts[tenant.name]))[:MOST_TENANTS]
    seen = (TenantSeen(one.name, one.region, *counts[one.name]) for one in busiest)
    return Some(tuple(seen), len(tenants))
