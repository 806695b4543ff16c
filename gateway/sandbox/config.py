"""What a simulated region is configured with: accounts, limits, latency, faults, a clock."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, ClassVar, Literal, Protocol

from gateway.sandbox.faults import Fault
from gateway.sandbox.models import models_in, rules_of, undated

Accounts = Mapping[str, tuple[str, ...]]
"""Keys by account."""


def check_accounts(accounts: Accounts) -> None:
    """
    Refuse a key of two accounts.

    Raises:
        ValueError: it names the accounts, not the key.
    """
    owners: dict[str, str] = {}
    for account, keys in accounts.items():
        for key in keys:
            if owners.setdefault(key, account) != account:
                raise ValueError(f"accounts: {owners[key]} and {account} share a key")


class SandboxClock(Protocol):
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
    """Every task runs for the same time."""

    kind: ClassVar[str] = "constant"
    seconds: float

    def draw(self, rng: Random) -> float:  # noqa: ARG002 - the signature that all distributions share
        return self.seconds


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything from *low* to *high* seconds, equally likely."""

    kind: ClassVar[str] = "uniform"
    low: float
    high: float

    def draw(self, rng: Random) -> float:
        return rng.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Half of the tasks run for less than *median* seconds; *sigma* is that of the logarithm."""

    kind: ClassVar[str] = "lognormal"
    median: float
    sigma: float = 0.35

    def draw(self, rng: Random) -> float:
        return rng.lognormvariate(math.log(self.median), self.sigma)


Latency = Constant | Uniform | Lognormal

_KINDS: dict[str, type[Constant] | type[Uniform] | type[Lognormal]] = {
    shape.kind: shape for shape in (Constant, Uniform, Lognormal)
}


def read_latency(table: Mapping[str, Any]) -> Latency:
    """
    Read a latency from its JSON form, like ``{"kind": "lognormal", "median": 45, "sigma": 0.35}``.

    Raises:
        ValueError: An unknown kind or field, or a value that is not a number or is negative.
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
#: Fits the known running times of 42 to 73 s (reference section 11).
DEFAULT_LATENCY = Lognormal(45.0, 0.35)


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """
    What one account may do with all of its keys together.

    Rates are counted in a sliding window; ``task_calls_per_second`` covers query, list and cancel
    together (reference sections 4.1 and 6.1). Submits and running tasks are counted by model:
    None means what the model's rules say.
    """

    submits_per_second: int | None = None
    running_tasks: int | None = None
    task_calls_per_second: int = 20
    policies_per_second: int = 100


@dataclass(frozen=True, slots=True)
class ListOptions:
    """
    How the list call behaves where DashScope's documents do not say.

    Attributes:
        refused: Every list call gets a 403 ``AccessDenied``.
        lag_seconds: The list shows the state of this many seconds ago.
        max_page_size: A larger ``page_size`` is reduced to this.
        newest_first: Page 1 holds the newest tasks, not the oldest.
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
        region: Its name, shown in list rows and by the admin API.
        accounts: Keys by account name. The keys of an account share its limits and its tasks.
        changing_accounts: Returns *accounts* as they are now, where keys are made and revoked while
            the region runs: the same object until they change, and no key under two accounts.
        models: The models that the region serves; None: those that DashScope has in a region of
            this name.
        choices: ``"one"``: pictures of qwen's models are parts of one choice; ``"each"``: each
            has a choice of its own, as the documents draw it.
        latency: Running time of a task or of a synchronous call, before *speed*.
        speed: Divides the running time: with 10, a task of 45 s ends after 4.5 s.
        late_checks: A submit with a wrong field makes a task that is FAILED, in place of a 400.
        refuse_alpha: Refuse pictures with an alpha channel; else it is ignored.
        max_image_bytes: Limit of one picture, after Base64 decoding, where the model has no less.
        max_body_bytes: Limit of a submit's body; None for no limit.
        picture: ``"made"`` renders each result from the input picture; ``"plain"`` serves a canned
            PNG of *plain_bytes* and reads only the headers of input pictures, for load tests.
        cache_bytes: Size of the cache of rendered results.
        url_seconds: Life of a result URL's signature, from the task's end.
        result_seconds: Life of a task and its result files, from the task's end.
        upload_seconds: Life of an uploaded file.
        policy_seconds: Life of an upload policy.
        public_base: Scheme and authority of the URLs in responses; None takes the request's Host.
        seed: Seeds latencies and faults with a probability, so that runs can be repeated.
    """

    region: str = "beijing"
    accounts: Accounts = field(default_factory=lambda: {"sandbox": ("sk-sandbox",)}, repr=False)
    changing_accounts: Callable[[], Accounts] | None = field(default=None, repr=False)
    models: tuple[str, ...] | None = None
    choices: Literal["one", "each"] = "one"
    latency: Latency = DEFAULT_LATENCY
    speed: float = 1.0
    limits: AccountLimits = AccountLimits()
    listing: ListOptions = ListOptions()
    faults: tuple[Fault, ...] = ()
    late_checks: bool = False
    refuse_alpha: bool = False
    max_image_bytes: int = 20 * 1024 * 1024
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

    def current_accounts(self) -> Accounts:
        """Return the keys by account."""
        return self.accounts if self.changing_accounts is None else self.changing_accounts()

    def serves(self, model: str, path: str) -> bool:
        """Return whether *model*, or what it is a snapshot of, is served at *path*."""
        models = models_in(self.region) if self.models is None else self.models
        here = model in models or undated(model) in models
        return here and path in rules_of(model).paths

    def __post_init__(self) -> None:
        check_accounts(self.accounts)
        if self.speed <= 0:
            raise ValueError("speed: must be over 0")
