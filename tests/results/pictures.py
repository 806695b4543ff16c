"""Pictures to keep, a calendar that is set by hand, and failures that are noted."""

from dataclasses import dataclass, field, replace

from gateway.results.names import ResultName, owner_of
from gateway.results.store import ResultStore

PICTURE = bytes(range(256)) * 4_000
"""A megabyte: several chunks."""
NAME = ResultName(owner_of("acme"), "edit_" + "ab" * 16, 0, 0, "png")
SECOND = replace(NAME, index=1)
OTHERS = replace(NAME, owner=owner_of("globex"))


@dataclass
class MovableCalendar:
    """A Clock whose calendar stands still until it is set."""

    time: float = 1_750_000_000.0

    def now(self) -> float:
        return self.time

    def epoch(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Failures:
    """An OnFailure that remembers."""

    operations: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def __call__(self, operation: str, error: Exception) -> None:
        self.operations.append(operation)
        self.errors.append(error)


async def read(store: ResultStore, name: ResultName, start: int = 0, stop: int = 0) -> bytes | None:
    """Return what the store has of *name*, all of it unless a part is asked for."""
    async with store.open(name) as opened:
        if opened is None:
            return None
        chunks = opened.chunks(start, stop or opened.stored.size)
        return b"".join([chunk async for chunk in chunks])


async def names_in(store: ResultStore, owner: str | None = None) -> set[ResultName]:
    return {stored.name async for stored in store.list(owner)}
