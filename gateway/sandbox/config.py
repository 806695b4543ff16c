"""What a simulated region is configured with: accounts, limits, latency, faults, a clock."""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar, Literal, Protocol

from gateway.sandbox.faults import Fault
from gateway.sandbox.models import RULES


class Clock(Protocol):
    """Seconds: *now* of a monotonic clock, *epoch* since 1970 by the machine's calendar."""

    def now(self) -> float: ...
    def epoch(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class RealClock:
    def now(self) -> float:
        return time.monotonic()

    def epoch(self) -> float:
        return datetime.now(UTC).timestamp()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Constant:
    """Every task runs equally long."""

    kind: ClassVar[str] = "constant"
    seconds: float

    def draw(self, dice: Random) -> float:  # noqa: ARG002 - all distributions are drawn from alike
        return self.seconds


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything from *low* to *high* seconds, equally likely."""

    kind: ClassVar[str] = "uniform"
    low: float
    high: float

    def draw(self, dice: Random) -> float:
        return dice.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Half of the tasks run under *median* seconds; *sigma* is the spread of the logarithm."""

    kind: ClassVar[str] = "lognormal"
    median: float
    sigma: float = 0.35

    def draw(self, dice: Random) -> float:
        return dice.lognormvariate(math.log(self.median), self.sigma)


Latency = Constant | Uniform | Lognormal

_KINDS: dict[str, type[Constant] | type[Uniform] | type[Lognormal]] = {
    shape.kind: shape for shape in (Constant, Uniform, Lognormal)
}


def read_latency(table: Mapping[str, Any]) -> Latency:
    """
    Read ``{"kind": "lognormal", "median": 45, "sigma": 0.35}`` and its like.

    Raises:
        ValueError: An unknown kind or field, or a number that is none or is negative.
    """
    fields = dict(table)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"latency.kind: {kind!r} is none of {sorted(_KINDS)}")
    if any(not isinstance(value, int | float) or value < 0 for value in fields.values()):
        raise ValueError("latency: every field is a number of seconds, not negative")
    try:
        latency = _KINDS[kind](**fields)
    except TypeError as exc:
        raise ValueError(f"latency: fields do not fit {kind}: {sorted(fields)}") from exc
    if isinstance(latency, Lognormal) and latency.median == 0:
        raise ValueError("latency.median: must be over 0")
    return latency


DAY = 86400.0
#: Of the figures known (reference section 11): 42 to 73 s.
DEFAULT_LATENCY = Lognormal(45.0, 0.35)


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What one account may do, all of its keys together.

    Rates are counted in a sliding window of one second. ``task_calls_per_second`` covers query,
    list and cancel together. Source: reference section 6.1 and 4.1.
    """

    submits_per_second: int = 5
    running_tasks: int = 5
    task_calls_per_second: int = 20
    policies_per_second: int = 100


@dataclass(frozen=True, slots=True)
class Listing:
    """
    How the task list behaves where the documents are silent.

    Attributes:
        refused: Every list call is answered 403 ``AccessDenied``.
        lag_seconds: The list shows the region as it was so long ago.
        max_page_size: A larger ``page_size`` is answered with this many rows.
        newest_first: Order by submit time, the newest on page 1.
    """

    refused: bool = False
    lag_seconds: float = 0.0
    max_page_size: int = 100
    newest_first: bool = True


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """
    One simulated DashScope region.

    Attributes:
        region: Its name, shown in list rows and books.
        accounts: Keys by account name. Keys of one account share its limits and see its tasks.
        models: What the region offers.
        latency: Running time of a task, or of work that is answered at once, before *speed*.
        speed: Divides the running time: 10 makes a 45 s task end after 4.5 s.
        late_checks: Fields of a submit are checked in the task (FAILED) and not at POST (400).
        refuse_alpha: A picture with an alpha channel is refused; else its alpha is ignored.
        max_image_bytes: Of one decoded picture.
        max_body_bytes: Of a whole submit; None for no limit.
        picture: ``"made"`` renders each result from the picture sent; ``"plain"`` serves a canned
            PNG of *plain_bytes* and looks at headers of pictures only, for load tests.
        url_seconds: Life of a result URL's signature, from the task's end.
        result_seconds: Life of a task and its result files, from the task's end.
        upload_seconds: Life of an uploaded file.
        policy_seconds: Life of an upload policy.
        public_base: Scheme and authority of URLs handed out; None takes the request's Host.
        seed: Of latencies and of faults with a probability, so that two runs are alike.
    """

    region: str = "beijing"
    accounts: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"sandbox": ("sk-sandbox",)}, repr=False
    )
    models: tuple[str, ...] = tuple(RULES)
    latency: Latency = DEFAULT_LATENCY
    speed: float = 1.0
    limits: Limits = Limits()
    listing: Listing = Listing()
    faults: tuple[Fault, ...] = ()
    late_checks: bool = False
    refuse_alpha: bool = False
    max_image_bytes: int = 10 * 1024 * 1024
    max_body_bytes: int | None = None
    picture: Literal["made", "plain"] = "made"
    plain_bytes: int = 2_000_000
    cache_bytes: int = 256 * 1024 * 1024
    url_seconds: float = DAY
    result_seconds: float = DAY
    upload_seconds: float = 2 * DAY
    policy_seconds: float = 300.0
    public_base: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        owners: dict[str, str] = {}
        for account, keys in self.accounts.items():
            for key in keys:
                if owners.setdefault(key, account) != account:
                    raise ValueError(f"accounts: {owners[key]} and {account} share a key")
        if self.speed <= 0:
            raise ValueError("speed: must be over 0")
