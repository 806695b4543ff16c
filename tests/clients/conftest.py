from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.sandbox import Constant
from tests.fast_time import FAST_TIME
from tests.harness import PLAIN, ThreadedHarness, photo, start_threaded_harness
from tests.nginx import nginx
from tests.programs import cannot, found

_PACE = {"submits_per_second": 100, "running_tasks": 50}


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return FAST_TIME


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients, which are not changed here, shall find the way to loopback."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="package")
def shared_gateway() -> Iterator[ThreadedHarness]:
    """A house for all tests here; each finds its own tasks by its own prompt."""
    server = {"port": 0, "max_body_bytes": 5_000_000}
    main = {"region": "beijing", "key": "env:KEY", "polls_per_second": 200, **_PACE}
    limits = replace(PLAIN.limits, task_calls_per_second=200, **_PACE)
    calm = replace(PLAIN, latency=Constant(0.1), limits=limits)
    with start_threaded_harness(calm, server=server, upstreams={"main": main}) as found:
        yield found


@pytest.fixture(scope="package")
def behind(
    shared_gateway: ThreadedHarness, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Its URL behind an nginx that keeps connections open and passes Upgrade on."""
    if found("nginx") is None:
        cannot("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    with nginx(folder, shared_gateway.url, waits=60, websockets="offered") as proxy:
        yield proxy.url


@pytest.fixture(params=["direct", "nginx"])
def url(request: pytest.FixtureRequest, shared_gateway: ThreadedHarness) -> str:
    """Where that house is found: by its own port, or behind nginx."""
    found_at: str = (
        request.getfixturevalue("behind") if request.param == "nginx" else shared_gateway.url
    )
    return found_at


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    file.write_bytes(photo())
    return file


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """The right half of the photograph is to be edited."""
    made = Image.new("RGBA", (400, 400), (0, 0, 0, 255))
    made.paste((0, 0, 0, 0), (200, 0, 400, 400))
    made.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"
