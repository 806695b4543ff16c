"""
The state of this process at one moment, for the dashboard and ``wan-gateway top``.

It has no prompt, picture, URL or key. Times are seconds of the process's monotonic clock, so
that two snapshots between which nothing happened are equal.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Capped(Generic[_T]):
    """The first of *total* rows: a snapshot has a bounded size."""

    rows: tuple[_T, ...]
    total: int


@dataclass(frozen=True, slots=True)
class EditSummary:
    """One edit that has not been delivered."""

    edit_id: str
    tenant: str
    region: str
    accounts: tuple[str, ...]
    """The accounts that it was submitted to; none while it waits."""
    model: str
    pictures: int
    stage: str
    clients: int
    """Connected to it now."""
    since: float
    phases: tuple[tuple[str, float], ...]
    """Each phase that it entered, and when; the last one has not ended."""
    tasks: tuple[str, ...]
    polls: int
    """Fetches of its tasks so far."""


@dataclass(frozen=True, slots=True)
class CallRate:
    """The rate limit of one kind of calls to one account."""

    per_second: float
    used: float
    """The share that the last second used, 0 to 1."""
    factor: float
    """The share that may be used now, less than 1 after a throttling."""


@dataclass(frozen=True, slots=True)
class KeySummary:
    """One upstream."""

    name: str
    state: str
    """``works``; ``rests``: suspended until then; ``doubted``: the next edit tries it last."""
    reason: str = ""
    """The code of the error that suspended it, DashScope's or ours."""
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class AccountSummary:
    name: str
    region: str
    taken: int
    """Slots in use: tasks that run, are pending upstream, or are being submitted."""
    running_tasks: int
    """The limits of the models that have a slot in use, added up."""
    pending_ahead: int
    waiting: int
    """Parts of edits in its queue."""
    typical: float
    """Seconds that a task takes, as far as is known."""
    submits: CallRate
    """Of the model that is slowed most, or uses most of its limit."""
    polls: CallRate
    keys: tuple[KeySummary, ...]


@dataclass(frozen=True, slots=True)
class TenantSummary:
    name: str
    region: str
    running: int
    waiting: int
    kept: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All edits, accounts and tenants, the first of each."""

    running: Capped[EditSummary]
    """Submitted, or being submitted or delivered."""
    waiting: Capped[EditSummary]
    """In the queue; nothing was paid."""
    kept: Capped[EditSummary]
    """Their pictures are made, and no client is connected to fetch them."""
    accounts: Capped[AccountSummary]
    tenants: Capped[TenantSummary]
