"""The nginx example under config/, behind a real nginx: large uploads, streams, no metrics."""

import os
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.sandbox import Constant
from tests.harness import KEY, PLAIN, photo, start_harness
from tests.nginx import nginx_example
from tests.programs import needs

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    needs("nginx"),
]


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds, since nginx has no others."""
    return "asyncio"


async def test_an_upload_over_a_megabyte_goes_through(tmp_path: Path) -> None:
    """With the example nginx takes bodies that its own default would refuse."""
    noise = os.urandom(3_000_000)  # behind the picture's end
    async with start_harness(PLAIN) as its, httpx.AsyncClient() as client:
        with nginx_example(tmp_path, its.url) as url:
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
        with nginx_example(tmp_path, its.url) as url:
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


async def test_what_stays_inside(tmp_path: Path) -> None:
    """The metrics are not shown, and the signature of a picture's URL is not logged."""
    async with start_harness(PLAIN) as its, httpx.AsyncClient() as client:
        with nginx_example(tmp_path, its.url) as url:
            assert (await client.get(f"{url}/metrics")).status_code == 404
            assert (await client.get(f"{url}/healthz")).status_code == 200
            await client.get(f"{url}/v1/images/results/NAME?expires=1&signature=CANARY")
    log = (tmp_path / "example.log").read_text("utf-8")
    assert "GET /v1/images/results/NAME 40" in log
    assert "CANARY" not in log
