"""``wan-gateway sandbox``: two simulated DashScope regions, to try a gateway or a program on."""

import asyncio
import json
import socket
from argparse import Namespace
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from gateway.config import ConfigError
from gateway.sandbox import (
    DEFAULT_LATENCY,
    Fault,
    SandboxConfig,
    bind,
    create_sandbox,
    read_fault,
    serve_sandboxes,
)

Serve = Callable[[Sequence[tuple[ASGIApp, socket.socket]]], Coroutine[Any, Any, None]]


def run(asked: Namespace, _environ: Mapping[str, str], serve: Serve = serve_sandboxes) -> int:
    """
    Serve both regions until SIGINT or SIGTERM; raise ConfigError if that cannot be.

    Args:
        asked: The command line: ``host``, both ports, ``speed``, ``seed``, ``faults``.
        serve: Serves apps on sockets to the end; a test hands in its own.
    """
    faults = _faults(asked.faults) if asked.faults else ()
    ports = {"beijing": asked.beijing_port, "singapore": asked.singapore_port}
    with ExitStack() as stack:
        places = []
        for name, port in ports.items():
            told = SandboxConfig(
                region=name,
                accounts={"sandbox": (key_of(name),)},
                speed=asked.speed,
                seed=asked.seed,
                faults=faults,
            )
            listener = stack.enter_context(_listener(asked.host, name, port))
            places.append((create_sandbox(told), listener))
        base_urls = {name: _url(place[1]) for name, place in zip(ports, places, strict=True)}
        # A program that starts us waits for these lines: they must not sit in a buffer.
        print(_welcome(base_urls, asked.speed), flush=True)
        asyncio.run(serve(places))
    return 0


def key_of(region: str) -> str:
    """Return the key that is valid in *region* and refused in the other one, as with DashScope."""
    return f"sk-sandbox-{region}"


def _listener(host: str, region: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        what = f"{host}:{port} cannot be listened on ({why})"
        raise ConfigError(f"--{region}-port: {what}; take another, or 0") from None


def _faults(file: Path) -> tuple[Fault, ...]:
    try:
        said = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); fix --faults") from None
    except ValueError as error:
        raise ConfigError(f"{file}: is not JSON: {error}; fix that line") from None
    if not isinstance(said, list):
        raise ConfigError(f"{file}: is not a list; put the faults between [ and ]")
    return tuple(_fault(file, number, table) for number, table in enumerate(said))


def _fault(file: Path, number: int, table: object) -> Fault:
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: [{number}]: is not an object; put it between {{ and }}")
    try:
        return read_fault(table)
    except ValueError as error:
        raise ConfigError(f"{file}: [{number}]: {error}; fix it") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}/api/v1"


def _pace(speed: float) -> str:
    seconds = DEFAULT_LATENCY.median / speed
    takes = f"An edit takes about {seconds:.2g} s"
    if speed > 1:
        return f"{takes} at --speed {speed:g}."
    return f"{takes}, as with DashScope; wan-gateway sandbox --speed 20 is 20 times as fast."


def _welcome(base_urls: Mapping[str, str], speed: float) -> str:
    beijing = base_urls["beijing"]
    return "\n".join(
        [
            *(f"{name:<9}  {url}  key {key_of(name)}" for name, url in base_urls.items()),
            "",
            _pace(speed),
            "",
            "One region, at once:",
            "",
            f"  DASHSCOPE_API_KEY={key_of('beijing')} DASHSCOPE_BASE_URL={beijing} \\",
            "    wan-gateway serve",
            "",
            "Both, by a config; wan-gateway key --tenant NAME prints a customer's lines for it:",
            "",
            *(f"  export SANDBOX_{name.upper()}={key_of(name)}" for name in base_urls),
            "",
            *_tables(base_urls),
            "",
            "Ctrl-C ends it.",
        ]
    )


def _tables(base_urls: Mapping[str, str]) -> Iterable[str]:
    for name, url in base_urls.items():
        yield f"  [regions.{name}]"
        yield f'  base_url = "{url}"'
        yield f"  [upstreams.{name}]"
        yield f'  region = "{name}"'
        yield f'  key = "env:SANDBOX_{name.upper()}"'
