"""A real nginx in front of a gateway, for one test or many."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.ports import free_port
from tests.process import until
from tests.programs import found

_EXAMPLE = Path(__file__).parents[1] / "config" / "nginx" / "wan-gateway.conf"
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
  {servers}
}}
"""

_SERVERS = """
  map $http_upgrade $connection_upgrade {{
    default upgrade;
    ''      '';
  }}
  upstream gateway {{
    server {address};
    {keep_alive}
  }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 64m;
    location / {{
      proxy_pass http://gateway;
      proxy_read_timeout {waits}s;
      {lines}
    }}
  }}
"""

# A gateway in hurried time closes what is idle for nine seconds.
_KEEP_ALIVE = "keepalive 16; keepalive_timeout 4s;"
_WEBSOCKETS = """
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection {connection};
"""
_CONNECTION = {"offered": "$connection_upgrade", "always": '"upgrade"'}


@dataclass(frozen=True, slots=True)
class Nginx:
    url: str
    access_log: Path

    @property
    def statuses(self) -> list[str]:
        """What it answered, request by request."""
        return self.access_log.read_text().split()

    async def has_logged_the_end(self) -> bool:
        return self.statuses[-1:] == ["200"]


@contextmanager
def nginx(
    folder: Path,
    url: str,
    *,
    waits: int,
    websockets: Literal["off", "offered", "always"] = "off",
) -> Iterator[Nginx]:
    """
    Run it before the gateway at *url*.

    Args:
        folder: For its files.
        url: Of the gateway.
        waits: Seconds of silence after which it gives up. It is the one setting that a plain
            configuration would not have. Where it shall not be met it is longer than what the
            gateway is told: a busy machine is late itself.
        websockets: Keep connections to the gateway, and pass Upgrade on, as the snippet says
            that half of all nginx configurations have; or, as the other half has it, say
            "Connection: upgrade" with every request, whether it offers one or not.
    """
    port = free_port()
    kept = websockets != "off"
    servers = _SERVERS.format(
        address=url.removeprefix("http://"),
        port=port,
        waits=waits,
        keep_alive=_KEEP_ALIVE if kept else "",
        lines=_WEBSOCKETS.format(connection=_CONNECTION[websockets]) if kept else "",
    )
    with nginx_with(folder, servers, port) as running:
        yield running


@contextmanager
def nginx_with(folder: Path, servers: str, port: int) -> Iterator[Nginx]:
    """Run it with *servers*, the inside of its ``http`` block, which listen on *port*."""
    file = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(_CONFIG.format(folder=folder, user=user, servers=servers))
    log = folder / "error.log"
    running = subprocess.Popen(
        [str(found("nginx")), "-p", str(folder), "-c", str(file), "-e", str(log)]
    )

    def listens() -> bool:
        assert running.poll() is None, log.read_text()
        with socket.socket() as knocking:
            return knocking.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens)
        yield Nginx(f"http://127.0.0.1:{port}", folder / "access.log")
    finally:
        running.terminate()
        running.wait(60)


@contextmanager
def nginx_example(folder: Path, *gateways: str) -> Iterator[str]:
    """Run the example of config/ as it is, but for its port, its log and the gateways' URLs."""
    port = free_port()
    example = _EXAMPLE.read_text("utf-8")
    for original, replacement in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("/var/log/nginx/wan-gateway.log", str(folder / "example.log")),
        ("server 127.0.0.1:8080;", " ".join(f"server {url[7:]};" for url in gateways)),
    ):
        assert example.count(original) == 1
        example = example.replace(original, replacement)
    with nginx_with(folder, example, port) as running:
        yield running.url
