"""How long a task runs: a distribution of seconds that is drawn from once per task."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar


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
