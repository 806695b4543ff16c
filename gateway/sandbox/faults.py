"""
Scripted faults: which request is hit, and what happens to it.

A fault names an operation and a set of conditions that must all hold; the first one in the list
that matches plays its action. Read from JSON (admin door, config files) by `read_fault`::

    {"on": "submit", "do": "answer", "status": 429, "code": "Throttling.RateQuota", "count": 3}
    {"on": "submit", "do": "drop", "after": true, "prompt": "hat"}
    {"on": "download", "do": "cut", "bytes": 1000, "task": 0}
    {"on": "query", "do": "hang", "nth": 2}
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from random import Random
from typing import Any, ClassVar, Literal, get_args

Operation = Literal["submit", "query", "list", "cancel", "download", "upload"]
OPERATIONS: tuple[str, ...] = get_args(Operation)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    Answer this instead.

    ``after``: do the work first, so that a 504 hides a task that was made. ``body`` replaces the
    flat error object with any text, as a load balancer does.
    """

    do: ClassVar[str] = "answer"
    status: int
    code: str = "InternalError"
    message: str | None = None
    after: bool = False
    body: str | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """
    Say nothing for *seconds*, then go on as if nothing was; None: until the peer leaves.

    ``after``: the work is done before the silence, so that a peer that leaves has a task.
    """

    do: ClassVar[str] = "hang"
    seconds: float | None = None
    after: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """
    Cut the connection without a byte of an answer.

    ``after``: once the work is done, so that a task exists whose answer is lost. ``reset``: with
    a TCP RST in place of a FIN.
    """

    do: ClassVar[str] = "drop"
    after: bool = False
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Late:
    """Cut the connection of a submit at once; its task appears *seconds* later."""

    do: ClassVar[str] = "late"
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Promise the whole body, send *bytes* of it, cut the connection."""

    do: ClassVar[str] = "cut"
    bytes: int
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Slow:
    """Wait *start* seconds before the first byte, then send so many bytes a second (0: all)."""

    do: ClassVar[str] = "slow"
    start: float = 0.0
    bytes_per_second: int = 0


@dataclass(frozen=True, slots=True)
class Forget:
    """Answer one query with UNKNOWN; the task lives on."""

    do: ClassVar[str] = "forget"


@dataclass(frozen=True, slots=True)
class End:
    """
    Decide at the submit how the task will end.

    Attributes:
        status: Its end state; UNKNOWN is a task that the region loses.
        images: 0-based indices that fail while the others succeed (status SUCCEEDED).
        seconds: Exact running time, not divided by the region's speed; None draws it.
    """

    do: ClassVar[str] = "end"
    status: Literal["SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"] = "SUCCEEDED"
    code: str = "InternalError.Timeout"
    message: str | None = None
    images: tuple[int, ...] = ()
    seconds: float | None = None


Action = Answer | Hang | Drop | Late | Cut | Slow | Forget | End

_ACTIONS: dict[str, Any] = {
    action.do: action for action in (Answer, Hang, Drop, Late, Cut, Slow, Forget, End)
}
_ONLY_ON: dict[str, tuple[str, ...]] = {
    "late": ("submit",),
    "end": ("submit",),
    "forget": ("query",),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One rule.

    Attributes:
        on: The operation that it hits.
        action: What happens.
        prompt: Only where the task's prompt holds this text.
        task: Only the task of this 0-based number in the region's order of submits.
        nth: Only the nth (1-based) request of this operation that matches the rest.
        probability: Hit so often, by the region's seeded dice.
        count: At most so many hits; None for no end.
    """

    on: Operation
    action: Action
    prompt: str | None = None
    task: int | None = None
    nth: int | None = None
    probability: float = 1.0
    count: int | None = None

    def __post_init__(self) -> None:
        allowed = _ONLY_ON.get(self.action.do)
        if allowed and self.on not in allowed:
            raise ValueError(f"fault: {self.action.do!r} works on {allowed[0]} only")


@dataclass(slots=True)
class _Tally:
    fault: Fault
    seen: int = 0
    hits: int = 0


class FaultBook:
    """The region's rules in order, and how often each one matched and hit."""

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


def write_fault(fault: Fault) -> dict[str, Any]:
    """Turn a rule into its JSON form, leaving out what is at its default."""
    shown: dict[str, Any] = {"on": fault.on, "do": fault.action.do}
    for noun in (fault, fault.action):
        for part in fields(noun):
            value = getattr(noun, part.name)
            if part.name not in {"on", "action"} and value != part.default:
                shown[part.name] = value
    return shown


def read_fault(table: Mapping[str, Any]) -> Fault:
    """
    Read one rule of the module's JSON form.

    Raises:
        ValueError: An unknown, missing or mistyped operation, action or field; the text says which.
    """
    rest = dict(table)
    on, do = rest.pop("on", None), rest.pop("do", None)
    if on not in OPERATIONS:
        raise ValueError(f"fault.on: {on!r} is none of {list(OPERATIONS)}")
    if do not in _ACTIONS:
        raise ValueError(f"fault.do: {do!r} is none of {sorted(_ACTIONS)}")
    conditions = {part.name for part in fields(Fault)} - {"on", "action"}
    when = {name: rest.pop(name) for name in list(rest) if name in conditions}
    return Fault(on=on, action=_read_action(_ACTIONS[do], rest), **when)


def _read_action(shape: Any, values: dict[str, Any]) -> Action:
    parts = {part.name: part for part in fields(shape)}
    for name in values:
        if name not in parts:
            raise ValueError(f"fault.{name}: not a field of {shape.do!r}: {sorted(parts)}")
    for name, part in parts.items():
        if part.default is MISSING and name not in values:
            raise ValueError(f"fault.{name}: {shape.do!r} needs it")
    if "images" in values:
        values = {**values, "images": tuple(values["images"])}
    action: Action = shape(**values)
    return action
