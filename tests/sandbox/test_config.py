"""The configuration of a region: accounts, latency distributions, the real clock."""

import time
from datetime import UTC, datetime
from random import Random
from statistics import median
from typing import Any

import pytest

from gateway.sandbox import SandboxConfig
from gateway.sandbox.config import Constant, Latency, Lognormal, RealClock, Uniform, read_latency


def test_key_belongs_to_one_account() -> None:
    """One key cannot belong to two accounts."""
    with pytest.raises(ValueError, match="one and two share a key"):
        SandboxConfig(accounts={"one": ("sk-a",), "two": ("sk-a",)})


def test_speed_is_positive() -> None:
    """A region that stands still is refused."""
    with pytest.raises(ValueError, match="speed"):
        SandboxConfig(speed=0)


def test_keys_are_not_shown() -> None:
    """A config's repr holds no key."""
    assert "sk-canary" not in repr(SandboxConfig(accounts={"one": ("sk-canary",)}))


@pytest.mark.parametrize(
    ("latency", "low", "high", "middle"),
    [
        pytest.param(Constant(7), 7, 7, 7, id="constant"),
        pytest.param(Uniform(2, 4), 2, 4, 3, id="uniform"),
        pytest.param(Lognormal(45, 0.35), 5, 400, 45, id="lognormal"),
    ],
)
def test_draws(latency: Latency, low: float, high: float, middle: float) -> None:
    """What is drawn lies in the shape's range, around its middle."""
    rng = Random(1)

    drawn = [latency.draw(rng) for _ in range(2000)]

    assert low <= min(drawn) <= max(drawn) <= high
    assert median(drawn) == pytest.approx(middle, rel=0.05)


@pytest.mark.parametrize(
    ("table", "latency"),
    [
        pytest.param({"kind": "constant", "seconds": 3}, Constant(3), id="constant"),
        pytest.param({"kind": "uniform", "low": 1, "high": 2}, Uniform(1, 2), id="uniform"),
        pytest.param({"kind": "lognormal", "median": 9}, Lognormal(9), id="default-sigma"),
    ],
)
def test_read(table: dict[str, Any], latency: Latency) -> None:
    """Each shape is read from its JSON."""
    assert read_latency(table) == latency


@pytest.mark.parametrize(
    ("table", "text"),
    [
        pytest.param({"seconds": 3}, "latency.kind", id="no-kind"),
        pytest.param({"kind": "gauss"}, "latency.kind", id="unknown-kind"),
        pytest.param({"kind": "constant", "seconds": -1}, "not negative", id="negative"),
        pytest.param({"kind": "constant", "seconds": "3"}, "number", id="text"),
        pytest.param({"kind": "constant", "median": 3}, "fit constant", id="other-field"),
        pytest.param({"kind": "lognormal", "median": 0}, "over 0", id="median-zero"),
    ],
)
def test_read_refuses(table: dict[str, Any], text: str) -> None:
    """What is no latency is refused by name."""
    with pytest.raises(ValueError, match=text):
        read_latency(table)


@pytest.mark.anyio
async def test_real_clock() -> None:
    """The real clock is the monotonic one, the calendar and asyncio's sleep."""
    clock = RealClock()
    before = clock.now()

    await clock.sleep(0.01)

    assert 0.009 < clock.now() - before < 60
    assert abs(clock.now() - time.monotonic()) < 60
    assert abs(clock.epoch() - datetime.now(UTC).timestamp()) < 60
