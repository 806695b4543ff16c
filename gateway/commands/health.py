"""``wan-gateway health``: does a gateway answer? For the health check of a container."""

import argparse
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from gateway.commands.server_url import url_of
from gateway.config import ServerConfig, load_server
from gateway.config.rules import BaseUrl, take
from gateway.config.table import Table
from gateway.observe.redact import printable

_TIMEOUT_SECONDS = 2.0
_OK = 200


def run(args: Namespace, _environ: Mapping[str, str], processes: Path = Path("/proc")) -> int:
    """
    Ask a gateway once, never through a proxy.

    Args:
        args: The command line: ``config``, ``url``, ``pid``, ``ready``.
        processes: Linux' folder of processes; a test passes its own.

    Returns:
        0 if it is well; 1 if it is not, or if there is none.

    Raises:
        ConfigError: the address cannot be found out.
    """
    try:
        url = _address(args, processes)
    except ProcessLookupError as error:
        return _unwell(str(error))
    path = "/readyz" if args.ready else "/healthz"
    try:
        status = _ask(url, path)
    except (OSError, HTTPException) as error:
        return _unwell(f"{url}: no answer ({str(error) or type(error).__name__})")
    if status != _OK:
        return _unwell(f"{url}{path}: answered {status}")
    print(f"{url}{path}: ok")
    return 0


def _unwell(reason: str) -> int:
    print(printable(reason), file=sys.stderr)
    return 1


def _address(args: Namespace, processes: Path) -> str:
    if args.url is not None:
        table = Table("health", "", {"--url": args.url})
        return str(take(table, "--url", BaseUrl('a URL such as "http://127.0.0.1:8080"')))
    if args.pid is not None:
        return url_of(_server_of(args.pid, processes))
    return url_of(load_server(args.config))


def _server_of(pid: int, processes: Path) -> ServerConfig:
    """
    Return where the process *pid* listens, by the options that it was started with.

    Raises:
        ProcessLookupError: there is no such process, or it is not ``wan-gateway serve``.
        ConfigError: its config cannot be read.
    """
    try:
        words = (processes / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise ProcessLookupError(f"process {pid}: cannot be read ({error.strerror})") from None
    _, command, options = words.partition("\0serve\0")
    if not command:
        raise ProcessLookupError(f"process {pid}: is not wan-gateway serve")
    started = _options(options.removesuffix("\0").split("\0"))
    file = started.config
    if file is not None:
        file = processes / str(pid) / "cwd" / file  # as the process sees a relative path
    server = load_server(file)
    return replace(server, host=started.host or server.host, port=started.port or server.port)


def _options(words: list[str]) -> Namespace:
    """Return those options of ``serve`` that decide where it listens."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    return parser.parse_known_args(words)[0]


def _ask(url: str, path: str) -> int:
    """Return the status of GET *path*."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{parts.path}{path}")
        return connection.getresponse().status
    finally:
        connection.close()
