"""Fixtures for packages of tests that drive a whole gateway; their conftest.py imports them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.sandbox import Constant
from tests.fast_time import FAST_TIME
from tests.harness import PLAIN, ThreadedHarness, start_threaded_harness

_LIMITS = {"submits_per_second": 100, "running_tasks": 50}


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    """Run the tests of the package in fast time."""
    return FAST_TIME


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SDKs and programs, whose settings the tests do not change, reach loopback directly."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="package")
def shared_gateway() -> Iterator[ThreadedHarness]:
    """One gateway for all tests of the package; each finds its own tasks by its own prompt."""
    upstream = {"region": "beijing", "key": "env:KEY", "polls_per_second": 200, **_LIMITS}
    limits = replace(PLAIN.limits, task_calls_per_second=200, **_LIMITS)
    with start_threaded_harness(
        replace(PLAIN, latency=Constant(0.1), limits=limits),
        server={"port": 0, "max_body_bytes": 5_000_000},
        upstreams={"main": upstream},
    ) as harness:
        yield harness
