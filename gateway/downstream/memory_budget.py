"""How many bytes of requests and answers this process holds at once, and for whom."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.domain.errors import Overloaded

_RETRY_AFTER = 1.0  # bytes go as soon as their task is submitted, which takes about a second
_A_PICTURE = 8 * 2**20
_OF_THE_REST = 3
"""How many times what would stay free a tenant may hold: alone, three quarters of the budget."""


class MemoryBudget:
    """
    A process-wide budget; over it, new bodies are refused before the machine suffers.

    What counts is what has come, not what was announced. Of several tenants, none can hold
    all of it: each may hold three times what it leaves free, so that there is always room
    for the next one, and a single body as long as there is room at all.

    Args:
        limit: The most bytes at once.
        changed: Told each change in bytes, for a gauge.
        shared: Whether there is more than one tenant.
    """

    def __init__(self, limit: int, changed: Callable[[int], None], *, shared: bool = False) -> None:
        self._limit = limit
        self._changed = changed
        self._shared = shared
        self._held = 0
        self._of_tenant: Counter[str] = Counter()

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def held(self) -> int:
        return self._held

    @contextmanager
    def reserve(self, tenant: str = "", announced: int = 0) -> Iterator["Reservation"]:
        """
        Hold what comes until the block's end or, once it is handed over, until its release.

        Args:
            tenant: For whom.
            announced: How much is said to come: refused now if there is no room for it now.

        Raises:
            Overloaded: there is no room.
        """
        reservation = Reservation(self, tenant)
        self.check(reservation, announced)
        try:
            yield reservation
        finally:
            if not reservation.handed_over:
                reservation.release()

    def room(self, tenant: str) -> "Reservation":
        """Return memory for the pictures of an answer to *tenant*; nothing is taken yet."""
        return Reservation(self, tenant)

    def check(self, reservation: "Reservation", n: int) -> None:
        """Raise Overloaded if *share* may not take *n* bytes more; nothing is taken."""
        free = self._limit - self._held - n
        of_tenant = self._of_tenant[reservation.tenant]
        several = self._shared and of_tenant > reservation.held
        if n > 0 and (free < 0 or (several and of_tenant + n > _OF_THE_REST * free)):
            raise Overloaded(
                "Our servers are currently overloaded. Please try again later.",
                retry_after=_RETRY_AFTER,
            )

    def change(self, reservation: "Reservation", n: int) -> None:
        """Count *n* bytes that *share* takes, or gives back where *n* is negative."""
        self._held += n
        self._of_tenant[reservation.tenant] += n
        if not self._of_tenant[reservation.tenant]:
            del self._of_tenant[reservation.tenant]
        self._changed(n)


@dataclass(slots=True)
class Reservation:
    """One request's part of the budget."""

    budget: MemoryBudget
    tenant: str = ""
    held: int = 0
    handed_over: bool = False
    """Whether somebody else holds the bytes now, and will release them."""

    def grow_to(self, n: int) -> None:
        """
        Hold at least *n* bytes.

        Raises:
            Overloaded: they are not to be had; what is held stays held.
        """
        if n > self.held:
            self.budget.check(self, n - self.held)
            self.budget.change(self, n - self.held)
            self.held = n

    def begin(self) -> bool:
        """Take what a picture of an answer may need, if there is room; return whether there was."""
        n = min(_A_PICTURE, self.budget.limit // 16)
        try:
            self.grow_to(n)
        except Overloaded:
            return False
        return True

    def hold(self, n: int) -> None:
        """Hold *n* bytes, room or not: they are there, and were paid for."""
        self.budget.change(self, n - self.held)
        self.held = n

    def shrink_to(self, n: int) -> None:
        """Give back all but *n* bytes: the rest is not in memory any more."""
        if n < self.held:
            self.budget.change(self, n - self.held)
            self.held = n

    def release(self) -> None:
        """Give everything back; harmless to repeat."""
        self.shrink_to(0)
