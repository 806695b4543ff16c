"""The nginx example under config/, behind a real nginx: large uploads, streams, no metrics."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.sandbox import Constant
from tests.harness import KEY, PLAIN, photo, start_harness
from tests.nginx import nginx_with
from tests.ports import free_port
from tests.programs import needs

_EXAMPLE = Path(__file__).parents[2] / "config" / "nginx" / "wan-gateway.conf"

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    needs("nginx"),
]


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds, since nginx has no others."""
    return "asyncio"


@contextmanager
def _nginx(folder: Path, gateway: str) -> Iterator[str]:
    """Run nginx with the example as it is, but for its port and the gateway's."""
    port = free_port()
    example = _EXAMPLE.read_text()
    for original, replacement in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("server 127.0.0.1:8080;", f"server {gateway.removeprefix('http://')};"),
    ):
        assert example.count(original) == 1
        example = example.replace(original, replacement)
    with nginx_with(folder, example, port) as running:
        yield running.url


async def test_an_upload_over_a_megabyte_goes_through(tmp_path: Path) -> None:
    """With the example nginx takes bodies that its own default would refuse."""
    noise = os.urandom(3_000_000)  # behind the picture's end
    async with start_harness(PLAIN) as its, httpx.AsyncClient() as client:
        with _nginx(tmp_path, its.url) as url:
            answer = await client.post(
                f"{url}/v1/images/edits",
                headers={"Authorization": f"Bearer {KEY}"},
                data={"prompt": "make it blue", "note": "x"},
                files={"image": ("photo.png", photo() + noise, "image/png")},
                timeout=60,
            )

    assert answer.status_code == 200, answer.text[:300]
    assert answer.json()["data"][0]["b64_json"]


async def test_a_stream_is_not_held_back(tmp_path: Path) -> None:
    """A heartbeat reaches the client while the task still runs."""
    slow = replace(PLAIN, latency=Constant(4.0))
    async with (
        start_harness(slow, server={"heartbeat_seconds": 0.5}) as its,
        httpx.AsyncClient(timeout=60) as client,
    ):
        with _nginx(tmp_path, its.url) as url:
            async with client.stream(
                "POST",
                f"{url}/v1/images/edits",
                headers={"Authorization": f"Bearer {KEY}"},
                data={"prompt": "make it blue", "stream": "true"},
                files={"image": ("photo.png", photo(), "image/png")},
            ) as answer:
                pieces = [piece async for piece in answer.aiter_text()]

    assert answer.status_code == 200
    assert pieces[0].startswith(":")  # a comment by itself, before the picture
    assert "image_edit.completed" in "".join(pieces)


async def test_metrics_stay_inside(tmp_path: Path) -> None:
    """The example does not show /metrics to the outside."""
    async with start_harness(PLAIN) as its, httpx.AsyncClient() as client:
        with _nginx(tmp_path, its.url) as url:
            assert (await client.get(f"{url}/metrics")).status_code == 404
            assert (await client.get(f"{url}/healthz")).status_code == 200
