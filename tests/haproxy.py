"""A real HAProxy with the example under config/, in front of gateways."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.ports import free_port
from tests.process import until
from tests.programs import found

EXAMPLE = Path(__file__).parents[1] / "config" / "haproxy" / "haproxy.cfg"
_SERVER = re.compile(r"^  server \S+ \S+\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HAProxy:
    url: str
    log: Path

    def state(self) -> str:
        """Return what it wrote about its servers and its requests."""
        return self.log.read_text("utf-8")

    def requests(self) -> list[tuple[str, str, str]]:
        """Return status, method and path of each request that it logged, which is at its end."""
        lines = (line.split() for line in self.state().splitlines())
        return [(it[5], it[-2], it[-1]) for it in lines if it[2:3] == ["clients"]]

    def statuses(self) -> set[str]:
        return {status for status, _, _ in self.requests()}


def example_for(
    port: int, gateways: Sequence[str], changes: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the example as it is, but for its port, its servers' addresses, and *changes*."""
    text = EXAMPLE.read_text("utf-8")
    for original, replacement in {"bind :80 ": f"bind 127.0.0.1:{port} ", **changes}.items():
        assert text.count(original) == 1, original
        text = text.replace(original, replacement)
    servers = [f"  server s{number} {url[7:]}\n" for number, url in enumerate(gateways)]
    return _SERVER.sub("", text) + "".join(servers)


@contextmanager
def haproxy(
    folder: Path, *gateways: str, changes: Mapping[str, str] = MappingProxyType({})
) -> Iterator[HAProxy]:
    """Run it before the gateways at these URLs, and wait until it takes requests for them."""
    port = free_port()
    file, log = folder / "haproxy.cfg", folder / "haproxy.log"
    file.write_text(example_for(port, gateways, changes), "utf-8")
    with log.open("wb") as output:
        running = subprocess.Popen(
            [str(found("haproxy")), "-db", "-f", str(file)],
            stdout=output,
            stderr=output,
            env={**os.environ, "TZ": "UTC"},
        )

    def listens() -> bool:
        assert running.poll() is None, log.read_text("utf-8")
        with socket.socket() as knocking:
            return knocking.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens)
        yield HAProxy(f"http://127.0.0.1:{port}", log)
    finally:
        running.terminate()
        running.wait(60)
