"""The nginx example under config/, behind a real nginx: large uploads, streams, no metrics."""

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.sandbox import Constant
from tests.ports import free_port
from tests.tools import found, needs
from tests.whole import KEY, PLAIN, eventually, house, photo

_EXAMPLE = Path(__file__).parents[2] / "config" / "nginx" / "wan-gateway.conf"

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    needs("nginx"),
]

_AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/wan-gateway.conf;
}}
"""


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds, since nginx has no others."""
    return "asyncio"


@contextmanager
def _process(folder: Path, gateway: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run nginx with the example as it is, but for its port and the gateway's."""
    example = _EXAMPLE.read_text()
    for there, here in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("server 127.0.0.1:8080;", f"server {gateway.removeprefix('http://')};"),
    ):
        assert example.count(there) == 1
        example = example.replace(there, here)
    (folder / "wan-gateway.conf").write_text(example)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, user=user))
    process = subprocess.Popen(
        [str(found("nginx")), "-p", str(folder), "-c", str(folder / "nginx.conf")],
        stderr=subprocess.DEVNULL,
    )

    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@asynccontextmanager
async def _nginx(folder: Path, gateway: str) -> AsyncIterator[str]:
    port = free_port()
    with _process(folder, gateway, port) as process:

        async def listens() -> bool:
            assert process.poll() is None, (folder / "error.log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        await eventually(listens)
        yield f"http://127.0.0.1:{port}"


async def test_an_upload_over_a_megabyte_goes_through(tmp_path: Path) -> None:
    """With the example nginx takes bodies that its own default would refuse."""
    noise = os.urandom(3_000_000)  # behind the picture's end
    async with house(PLAIN) as its, _nginx(tmp_path, its.url) as url, httpx.AsyncClient() as client:
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
        house(slow, server={"heartbeat_seconds": 0.5}) as its,
        _nginx(tmp_path, its.url) as url,
        httpx.AsyncClient(timeout=60) as client,
        client.stream(
            "POST",
            f"{url}/v1/images/edits",
            headers={"Authorization": f"Bearer {KEY}"},
            data={"prompt": "make it blue", "stream": "true"},
            files={"image": ("photo.png", photo(), "image/png")},
        ) as answer,
    ):
        pieces = [piece async for piece in answer.aiter_text()]

    assert answer.status_code == 200
    assert pieces[0].startswith(":")  # a comment by itself, before the picture
    assert "image_edit.completed" in "".join(pieces)


async def test_metrics_stay_inside(tmp_path: Path) -> None:
    """The example does not show /metrics to the outside."""
    async with house(PLAIN) as its, _nginx(tmp_path, its.url) as url, httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/metrics")).status_code == 404
        assert (await client.get(f"{url}/healthz")).status_code == 200
