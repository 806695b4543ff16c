"""Behind a real nginx that cuts 2 s of silence, a task of 5 s (P6)."""

import os
import shutil
import socket
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.sandbox import Constant
from tests.ports import free_port
from tests.whole import KEY, PLAIN, eventually, hashed, house, photo, theirs, whose

# Debian puts it where only root's PATH looks.
_NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(_NGINX is None, reason="nginx is not installed (apt-get install nginx)"),
]

SLOW = replace(PLAIN, latency=Constant(7.0))

# Nothing is set that a plain configuration would not say, but for the short timeout. Where it
# shall not be met it is longer than what the gateway is told: a busy machine is late itself.
_CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
  log_format plain "$status";
  access_log {folder}/access.log plain;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 64m;
    location / {{
      proxy_pass {url};
      proxy_read_timeout {waits}s;
    }}
  }}
}}
"""


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds, since nginx has no others."""
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Nginx:
    url: str
    access_log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def statuses(self) -> list[str]:
        """What it answered, request by request."""
        return self.access_log.read_text().split()

    async def has_logged_the_end(self) -> bool:
        return self.statuses[-1:] == ["200"]


@contextmanager
def _process(folder: Path, url: str, waits: int) -> Iterator[Nginx]:
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(_CONFIG.format(folder=folder, url=url, port=port, user=user, waits=waits))
    running = subprocess.Popen(
        [str(_NGINX), "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
    )
    try:
        yield Nginx(f"http://127.0.0.1:{port}", folder / "access.log", running)
    finally:
        running.terminate()
        running.wait(60)


@asynccontextmanager
async def _behind_nginx(folder: Path, url: str, waits: int) -> AsyncIterator[Nginx]:
    with _process(folder, url, waits) as nginx:
        port = int(nginx.url.rpartition(":")[2])

        async def listens() -> bool:
            assert nginx.process.poll() is None, (folder / "error.log").read_text()
            with socket.socket() as knocking:
                return knocking.connect_ex(("127.0.0.1", port)) == 0

        await eventually(listens)
        yield nginx


async def _edit(client: openai.AsyncOpenAI, *, stream: bool) -> str:
    """Return the picture in base64."""
    asked: dict[str, Any] = {"image": photo(), "prompt": "make it blue"}
    if not stream:
        answer = await client.images.edit(**asked)
        (image,) = answer.data or []
        return image.b64_json or ""
    events = [event async for event in await client.images.edit(stream=True, **asked)]
    (picture,) = (event.b64_json for event in events)
    return str(picture)


@pytest.mark.parametrize(
    ("waits", "tenant", "stream", "statuses"),
    [
        pytest.param(2, {}, False, {"504", "200"}, id="nginx-cuts-and-the-retry-joins"),
        pytest.param(
            5,
            {"cut_off_seconds": 2},
            False,
            {"503", "200"},
            id="told-in-time-and-the-retry-joins",
        ),
        pytest.param(
            5,
            {"cut_off_seconds": 2, "keep_alive": "whitespace"},
            False,
            {"200"},
            id="blanks",
        ),
        pytest.param(5, {"cut_off_seconds": 2}, True, {"200"}, id="a-stream"),
    ],
)
async def test_a_task_longer_than_the_proxy_waits(
    tmp_path: Path, waits: int, tenant: dict[str, Any], stream: bool, statuses: set[str]
) -> None:
    """Whatever the proxy makes of the wait, the SDK's user gets the picture, paid for once."""
    tenants = {"acme": {"region": "beijing", "keys": [hashed(KEY)], **tenant}}
    async with (
        house(SLOW, tenants=tenants) as home,
        _behind_nginx(tmp_path, home.url, waits) as nginx,
        openai.AsyncOpenAI(
            api_key=KEY, base_url=f"{nginx.url}/v1", timeout=20, max_retries=4
        ) as client,
    ):
        picture = await _edit(client, stream=stream)
        books = await home.books()

        assert whose(b64decode(picture)) == theirs("make it blue", photo())
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)
        await eventually(nginx.has_logged_the_end)
    assert set(nginx.statuses) == statuses
    assert nginx.statuses.count("200") == 1
