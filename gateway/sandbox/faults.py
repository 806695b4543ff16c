"""
Scripted faults: which request is hit, and what happens to it.

A fault names an operation and a set of conditions that must all hold; the first one in the list
that matches plays its action. Their JSON form is in `fault_tables`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

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
