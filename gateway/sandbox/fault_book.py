"""The region's faults in order, and how often each one matched and hit."""

from dataclasses import dataclass
from random import Random
from typing import Any

from gateway.sandbox.fault_tables import write_fault
from gateway.sandbox.faults import Action, Fault, Operation


@dataclass(slots=True)
class _Tally:
    fault: Fault
    seen: int = 0
    hits: int = 0


class FaultBook:
    """Answers for each request whether a rule hits it. The first that does is played."""

    def __init__(self, faults: tuple[Fault, ...], dice: Random) -> None:
        self._tallies = [_Tally(fault) for fault in faults]
        self._dice = dice

    def add(self, *faults: Fault) -> None:
        self._tallies += [_Tally(fault) for fault in faults]

    def clear(self) -> None:
        self._tallies.clear()

    def hit(self, on: Operation, *, prompt: str = "", task: int | None = None) -> Action | None:
        """Tell what happens to this request, counting it; None lets it pass."""
        for tally in self._tallies:
            if tally.fault.on == on and self._hits(tally, prompt, task):
                tally.hits += 1
                return tally.fault.action
        return None

    def _hits(self, tally: _Tally, prompt: str, task: int | None) -> bool:
        fault = tally.fault
        if fault.prompt is not None and fault.prompt not in prompt:
            return False
        if fault.task is not None and fault.task != task:
            return False
        tally.seen += 1
        if fault.nth is not None and fault.nth != tally.seen:
            return False
        if fault.count is not None and tally.hits >= fault.count:
            return False
        return fault.probability >= 1.0 or self._dice.random() < fault.probability

    def show(self) -> list[dict[str, Any]]:
        """Each rule in the form that `read_fault` takes, with ``seen`` and ``hits``."""
        return [
            {**write_fault(tally.fault), "seen": tally.seen, "hits": tally.hits}
            for tally in self._tallies
        ]
