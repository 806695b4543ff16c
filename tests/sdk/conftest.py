from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.sandbox import Constant
from tests.fast_time import FAST_TIME
from tests.harness import PLAIN, ThreadedHarness, start_threaded_harness


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return FAST_TIME


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs, which are not changed here, shall find the way to loopback."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="package")
def shared_gateway() -> Iterator[ThreadedHarness]:
    """A house for all tests here; each finds its own tasks by its own prompt."""
    calm = replace(PLAIN, latency=Constant(0.1))
    server = {"port": 0, "max_body_bytes": 5_000_000}
    upstreams = {
        "main": {
            "region": "beijing",
            "key": "env:KEY",
            "submits_per_second": 100,
            "running_tasks": 50,
            "polls_per_second": 200,
        }
    }
    limits = replace(
        calm.limits, submits_per_second=100, running_tasks=50, task_calls_per_second=200
    )
    with start_threaded_harness(
        replace(calm, limits=limits), server=server, upstreams=upstreams
    ) as shared_gateway:
        yield shared_gateway
