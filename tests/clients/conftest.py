from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox import Constant
from tests.rush import RUSH
from tests.whole import PLAIN, Neighbour, neighbour, photo

_PACE = {"submits_per_second": 100, "running_tasks": 50}


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return RUSH


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients, which are not changed here, shall find the way to loopback."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="package")
def there() -> Iterator[Neighbour]:
    """A house for all tests here; each finds its own tasks by its own prompt."""
    server = {"port": 0, "max_body_bytes": 5_000_000}
    main = {"region": "beijing", "key": "env:KEY", "polls_per_second": 200, **_PACE}
    limits = replace(PLAIN.limits, task_calls_per_second=200, **_PACE)
    calm = replace(PLAIN, latency=Constant(0.1), limits=limits)
    with neighbour(calm, server=server, upstreams={"main": main}) as found:
        yield found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    file.write_bytes(photo())
    return file
