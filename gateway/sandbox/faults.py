"""x"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from math import isfinite
from random import Random
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from gateway.sandbox.responses import Refusal, status_of, text_of

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
    a TCP RST in place of a FIN. ``seconds``: of silence before the cut.
    """

    do: ClassVar[str] = "drop"
    after: bool = False
    reset: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Late:
    """Cut the connection of a submit at once; its task or work begins *seconds* later."""

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

    A model that answers at once says it in its answer: FAILED is an HTTP error of the documented
    status of *code*, and so are CANCELED and UNKNOWN, which such work cannot be; pictures that
    failed among others are missing.

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


_ACTIONS: dict[str, Any] = {
    action.do: action for action in (Answer, Hang, Drop, Late, Cut, Slow, Forget, End)
}


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
    Read one rule.

    Raises:
        ValueError: An unknown, missing or mistyped operation, action or field; the text says which.
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
            raise ValueError(f"fault.{name}: {value!r} is not of the right kind")


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


def end_by_prompt(prompt: str) -> End:
    """
    Read how a task shall end from its prompt; without a script it succeeds.

    Raises:
        Refusal: The prompt asks to be refused at POST, or holds a script that is not one.
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
                raise Refusal(status_of(code), code, text_of(code))
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
