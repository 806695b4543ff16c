"""
Scripted faults: which request is hit, and what happens to it.

A fault names an operation and conditions that must all hold; the first fault in the list that
matches decides. `gateway.sandbox.injection` carries it out. The admin API and files hold faults as
JSON::

    {"on": "submit", "do": "answer", "status": 429, "code": "Throttling.RateQuota", "count": 3}
    {"on": "submit", "do": "drop", "after": true, "prompt": "hat"}
    {"on": "download", "do": "cut", "bytes": 1000, "task": 0}
    {"on": "query", "do": "hang", "nth": 2}
    {"on": "submit", "do": "end", "status": "FAILED", "code": "DataInspectionFailed"}

A prompt may script how its task ends, for demos without the admin API:
``[sandbox:fail CODE]``, ``[sandbox:refuse CODE]``, ``[sandbox:partial 0,2]``,
``[sandbox:seconds 3]``, ``[sandbox:cancel]``, ``[sandbox:unknown]``; several may stand together.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from math import isfinite
from random import Random
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from gateway.sandbox.responses import Refusal, message_of, status_of

Operation = Literal["submit", "query", "list", "cancel", "download", "upload"]
OPERATIONS: tuple[str, ...] = get_args(Operation)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    Respond with this error instead.

    Attributes:
        after: Do the work first, so that a 504 hides a task that was created.
        body: Any text in place of the flat error object, as a load balancer sends.
        retry_after: Seconds in a ``Retry-After`` header.
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
    Send nothing for *seconds*, then go on normally; None: until the peer disconnects.

    Attributes:
        after: Do the work first, so that a peer that disconnects has a task.
    """

    do: ClassVar[str] = "hang"
    seconds: float | None = None
    after: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """
    Cut the connection before the first byte of the response.

    Attributes:
        after: Do the work first, so that a task exists whose response is lost.
        reset: With a TCP RST in place of a FIN.
        seconds: Wait this long before the cut.
    """

    do: ClassVar[str] = "drop"
    after: bool = False
    reset: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Late:
    """Cut the connection of a submit at once; its task is created *seconds* later."""

    do: ClassVar[str] = "late"
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Announce the whole body, send *bytes* of it, then cut the connection."""

    do: ClassVar[str] = "cut"
    bytes: int
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Slow:
    """Wait *start* seconds, then send *bytes_per_second*; 0 sends everything at once."""

    do: ClassVar[str] = "slow"
    start: float = 0.0
    bytes_per_second: int = 0


@dataclass(frozen=True, slots=True)
class Forget:
    """Answer a query with UNKNOWN; the task itself goes on."""

    do: ClassVar[str] = "forget"


@dataclass(frozen=True, slots=True)
class End:
    """
    Decide at the submit how the task will end.

    For a synchronous model FAILED, CANCELED and UNKNOWN are an HTTP error with the documented
    status of *code*, and pictures that fail among others are missing from the response.

    Attributes:
        status: Its final status; UNKNOWN is a task that the region loses.
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

_ONLY_ON: dict[str, tuple[str, ...]] = {
    "late": ("submit",),
    "end": ("submit",),
    "forget": ("query",),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One scripted fault.

    Attributes:
        on: The operation that it hits.
        action: What happens.
        prompt: Only where the task's prompt contains this text.
        task: Only the task with this 0-based number in the region's order of submits.
        nth: Only the nth (1-based) request that meets the conditions above.
        probability: Chance of a hit, drawn from the region's seeded random generator.
        count: Maximum number of hits; None for no limit.
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


_ACTIONS: dict[str, Any] = {
    action.do: action for action in (Answer, Hang, Drop, Late, Cut, Slow, Forget, End)
}


def write_fault(fault: Fault) -> dict[str, Any]:
    """Return the JSON form of a fault, without the fields that have their default."""
    table: dict[str, Any] = {"on": fault.on, "do": fault.action.do}
    for holder in (fault, fault.action):
        for part in fields(holder):
            value = getattr(holder, part.name)
            if part.name not in {"on", "action"} and value != part.default:
                table[part.name] = value
    return table


def read_fault(table: Mapping[str, Any]) -> Fault:
    """
    Read a fault from its JSON form.

    Raises:
        ValueError: An unknown or missing operation, action or field, or a value of a wrong type.
    """
    rest = dict(table)
    on = rest.pop("on", None)
    do = rest.pop("do", None)
    if on not in OPERATIONS:
        raise ValueError(f"fault.on: {on!r} is none of {list(OPERATIONS)}")
    if do not in _ACTIONS:
        raise ValueError(f"fault.do: {do!r} is none of {sorted(_ACTIONS)}")
    conditions = {part.name for part in fields(Fault)} - {"on", "action"}
    when = {name: rest.pop(name) for name in list(rest) if name in conditions}
    _check_types(Fault, when)
    return Fault(on=on, action=_read_action(_ACTIONS[do], rest), **when)


def _read_action(shape: Any, values: dict[str, Any]) -> Action:
    parts = {part.name: part for part in fields(shape)}
    for name in values:
        if name not in parts:
            raise ValueError(f"fault.{name}: not a field of {shape.do!r}: {sorted(parts)}")
    for name, part in parts.items():
        if part.default is MISSING and name not in values:
            raise ValueError(f"fault.{name}: {shape.do!r} needs it")
    _check_types(shape, values)
    if "images" in values:
        values = {**values, "images": tuple(values["images"])}
    action: Action = shape(**values)
    return action


def _check_types(shape: Any, values: Mapping[str, Any]) -> None:
    hints = get_type_hints(shape)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"fault.{name}: {value!r} has the wrong type")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(type(item) is int for item in value)
    if hint is float:
        return type(value) in {int, float}
    return type(value) is (NoneType if hint is None else hint)


_SCRIPT = re.compile(r"\[sandbox:(\w+)(?: +([\w., ]+?))?\]")


def end_from_prompt(prompt: str) -> End:
    """
    Read from a prompt how its task ends; without a script it succeeds.

    Raises:
        Refusal: The prompt asks to be refused, or contains an unknown script.
    """
    end = End()
    for match in _SCRIPT.finditer(prompt):
        end = _apply(end, match[1], match[2] or "", match[0])
    return end


def _apply(end: End, verb: str, argument: str, text: str) -> End:
    try:
        match verb:
            case "fail":
                return replace(end, status="FAILED", code=argument or end.code)
            case "refuse":
                code = argument or "InvalidParameter"
                raise Refusal(status_of(code), code, message_of(code))
            case "partial":
                return replace(end, images=tuple(int(part) for part in argument.split(",")))
            case "seconds":
                return replace(end, seconds=_seconds(argument))
            case "cancel":
                return replace(end, status="CANCELED")
            case "unknown":
                return replace(end, status="UNKNOWN")
    except ValueError:
        pass
    raise Refusal(400, "InvalidParameter", f"{text} is not a script of the sandbox")


def _seconds(argument: str) -> float:
    seconds = float(argument)
    if not isfinite(seconds):
        raise ValueError(argument)
    return seconds


@dataclass(slots=True)
class _FaultCount:
    fault: Fault
    seen: int = 0
    hits: int = 0


class FaultInjector:
    """The faults of a region in order, with a count of matches and hits for each."""

    def __init__(self, faults: tuple[Fault, ...], rng: Random) -> None:
        self._tallies = [_FaultCount(fault) for fault in faults]
        self._dice = rng

    def add(self, *faults: Fault) -> None:
        self._tallies += [_FaultCount(fault) for fault in faults]

    def clear(self) -> None:
        self._tallies.clear()

    def action_for(
        self, on: Operation, *, prompt: str = "", task: int | None = None
    ) -> Action | None:
        """Return the action of the first fault that hits this request; count matches and hits."""
        for tally in self._tallies:
            if tally.fault.on == on and self._hits(tally, prompt, task):
                tally.hits += 1
                return tally.fault.action
        return None

    def _hits(self, tally: _FaultCount, prompt: str, task: int | None) -> bool:
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
        """Return the JSON form of each fault, with ``seen`` and ``hits``."""
        return [
            {**write_fault(tally.fault), "seen": tally.seen, "hits": tally.hits}
            for tally in self._tallies
        ]
