"""
What goes on in this process at one moment, for those who watch it.

It says who, how far and how much, never what: no prompt, picture, URL or key. Instants are
seconds of the process's monotonic clock, so that nothing differs between two snapshots
between which nothing happened but time.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Capped(Generic[_T]):
    """The first of many: a crowd must not make a snapshot large."""

    rows: tuple[_T, ...]
    total: int


@dataclass(frozen=True, slots=True)
class EditSeen:
    """One edit that has not been delivered."""

    edit_id: str
    tenant: str
    region: str
    accounts: tuple[str, ...]
    """That it was submitted to; none while it waits."""
    model: str
    pictures: int
    stage: str
    clients: int
    """That are connected to it now."""
    since: float
    phases: tuple[tuple[str, float], ...]
    """Each phase that it went through, and when that began; the last one goes on."""
    tasks: tuple[str, ...]
    polls: int
    """Fetches of its tasks so far."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Calls of one kind to one account."""

    per_second: float
    used: float
    """Share of it that the last second used, 0 to 1."""
    factor: float
    """Share of it that may be used now: less than 1 after a throttling."""


@dataclass(frozen=True, slots=True)
class KeySeen:
    """One upstream."""

    name: str
    state: str
    """``works``; ``rests``: left alone until then; ``doubted``: the next edit tries it last."""
    reason: str = ""
    """DashScope's code, or ours."""
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class AccountSeen:
    name: str
    region: str
    taken: int
    """Turns that are given out: tasks that run or queue upstream, or are being submitted."""
    running_tasks: int
    pending_ahead: int
    waiting: int
    """Parts of edits in its line."""
    typical: float
    """Seconds that a task of it takes, as far as is known."""
    submits: Budget
    polls: Budget
    keys: tuple[KeySeen, ...]


@dataclass(frozen=True, slots=True)
class TenantSeen:
    name: str
    region: str
    running: int
    waiting: int
    kept: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the service knows."""

    running: Capped[EditSeen]
    """Submitted, or being submitted or delivered."""
    waiting: Capped[EditSeen]
    """In line: nothing was paid."""
    kept: Capped[EditSeen]
    """Their pictures are made, and nobody is connected to fetch them."""
    accounts: Capped[AccountSeen]
    tenants: Capped[TenantSeen]
