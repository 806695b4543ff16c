"""All that the journey is handed in, as one thing to pass on."""

from dataclasses import dataclass

from gateway.domain.clock import Clock
from gateway.journey.finishing import Finishing
from gateway.journey.ports import (
    DashScope,
    Ledger,
    Observer,
    Promises,
    Receipts,
    Tell,
    say_nothing,
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The far side, the disk, the time, who counts, and who tells the operator."""

    dashscope: DashScope
    ledger: Ledger
    receipts: Receipts
    promises: Promises
    finishing: Finishing
    clock: Clock
    observer: Observer
    tell: Tell = say_nothing
