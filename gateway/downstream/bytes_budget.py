"""How many bytes of request bodies this process holds at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.domain.errors import Overloaded

_RETRY_AFTER = 1.0  # bytes go as soon as their task is submitted, which takes about a second


class Bytes:
    """
    A process-wide budget; over it, new bodies are refused before the machine suffers.

    Args:
        limit: The most bytes at once.
        changed: Told each change in bytes, for a gauge.
    """

    def __init__(self, limit: int, changed: Callable[[int], None]) -> None:
        self._limit = limit
        self._changed = changed
        self._held = 0

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def held(self) -> int:
        return self._held

    @contextmanager
    def reserve(self, expected: int = 0) -> Iterator["Share"]:
        """
        Hold *expected* bytes, and what comes on top, until the block's end or, once they
        are handed over, until their release.

        Raises:
            Overloaded: they are not to be had.
        """
        share = Share(self)
        try:
            share.grow_to(expected)
            yield share
        finally:
            if not share.handed_over:
                share.release()

    def change(self, n: int) -> None:
        """
        Take *n* bytes, or give them back where *n* is negative.

        Raises:
            Overloaded: there are not so many.
        """
        if n > 0 and self._held + n > self._limit:
            raise Overloaded(
                "Our servers are currently overloaded. Please try again later.",
                retry_after=_RETRY_AFTER,
            )
        self._held += n
        self._changed(n)


@dataclass(slots=True)
class Share:
    """One body's part of the budget."""

    budget: Bytes
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
            self.budget.change(n - self.held)
            self.held = n

    def release(self) -> None:
        """Give everything back; harmless to repeat."""
        if self.held:
            self.budget.change(-self.held)
            self.held = 0
