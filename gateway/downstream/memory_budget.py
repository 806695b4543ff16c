"""A budget for the bytes of requests and results that this process holds at once."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.domain.errors import Overloaded

_RETRY_AFTER = 1.0  # bytes are freed once their task is submitted, in about a second
_RESULT_BYTES = 8 * 2**20
_SHARE = 3
"""A tenant may hold so many times what stays free: alone, three quarters of the budget."""


class MemoryBudget:
    """
    The process's budget of bytes; new bodies over it are refused (P18).

    Bytes count once they were received, not when they were announced. Of several tenants none
    can hold all of it: each may hold three times what it leaves free, so that there is always
    room for the next one. A tenant's only body needs no more than room.

    Args:
        limit: The most bytes at once.
        changed: Called with each change in bytes, for a gauge.
        shared: Whether there is more than one tenant.
    """

    def __init__(self, limit: int, changed: Callable[[int], None], *, shared: bool = False) -> None:
        self._limit = limit
        self._changed = changed
        self._shared = shared
        self._held = 0
        self._of_tenant: Counter[str] = Counter()

    def resize(self, limit: int, *, shared: bool) -> None:
        """Change the limit; what is held beyond it stays held."""
        self._limit = limit
        self._shared = shared

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def held(self) -> int:
        return self._held

    @contextmanager
    def reserve(self, tenant: str = "", announced: int = 0) -> Iterator["Reservation"]:
        """
        Reserve until the end of the block or, once it is handed over, until its release.

        Args:
            tenant: Whose bytes they are.
            announced: Bytes that will follow: refused now if there is no room for them now.

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
        """Return a reservation for the pictures of a result of *tenant*; it holds nothing yet."""
        return Reservation(self, tenant)

    def check(self, reservation: "Reservation", n: int) -> None:
        """Raise Overloaded if *share* may not take *n* bytes more; nothing is taken."""
        free = self._limit - self._held - n
        of_tenant = self._of_tenant[reservation.tenant]
        several = self._shared and of_tenant > reservation.held
        if n > 0 and (free < 0 or (several and of_tenant + n > _SHARE * free)):
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
    """The bytes of the budget that one request holds."""

    budget: MemoryBudget
    tenant: str = ""
    held: int = 0
    handed_over: bool = False
    """Whether the edit holds the bytes now, and will release them."""

    def grow_to(self, n: int) -> None:
        """
        Hold at least *n* bytes.

        Raises:
            Overloaded: there is no room; what is held stays held.
        """
        if n > self.held:
            self.budget.check(self, n - self.held)
            self.budget.change(self, n - self.held)
            self.held = n

    def begin(self) -> bool:
        """Hold what a picture of a result may need; return whether there was room."""
        n = min(_RESULT_BYTES, self.budget.limit // 16)
        try:
            self.grow_to(n)
        except Overloaded:
            return False
        return True

    def hold(self, n: int) -> None:
        """Hold *n* bytes, room or not: they are in memory already, and were paid for."""
        self.budget.change(self, n - self.held)
        self.held = n

    def shrink_to(self, n: int) -> None:
        """Release all but *n* bytes: the rest is not in memory any more."""
        if n < self.held:
            self.budget.change(self, n - self.held)
            self.held = n

    def release(self) -> None:
        """Release everything; harmless to repeat."""
        self.shrink_to(0)
