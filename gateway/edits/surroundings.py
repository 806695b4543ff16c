"""All that gateway.edits is handed in, as one thing to pass on."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.domain.clock import Clock
from gateway.edits.finishing import Finishing
from gateway.edits.ports import (
    DashScope,
    Ledger,
    Observer,
    PromisedEdits,
    ResultUrls,
    Room,
    Tell,
    say_nothing,
)


class NoLimit:
    """Answers Room where memory is not counted."""

    def begin(self) -> bool:
        return True

    def hold(self, n: int) -> None:
        """Count nothing."""

    def release(self) -> None:
        """Give nothing back."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The far side, the disk, the time, who counts, and who tells the operator."""

    dashscope: DashScope
    ledger: Ledger
    result_urls: ResultUrls
    promises: PromisedEdits
    finishing: Finishing
    clock: Clock
    observer: Observer
    tell: Tell = say_nothing
    room_of: Callable[[str], Room] = lambda _: NoLimit()
    """From a tenant's name to memory for the pictures of one answer."""
