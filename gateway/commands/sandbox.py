"""``wan-gateway sandbox``: two simulated DashScope regions, to try a gateway or a program on."""

import asyncio
import json
import socket
from argparse import Namespace
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from gateway.commands.sandbox_keys import KeysFile
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

_REGIONS = ("beijing", "singapore")
Serve = Callable[[Sequence[tuple[ASGIApp, socket.socket]]], Coroutine[Any, Any, None]]


def run(args: Namespace, _environ: Mapping[str, str], serve: Serve = serve_sandboxes) -> int:
    """
    Serve both regions until SIGINT or SIGTERM; raise ConfigError if a port or a file is unusable.

    Args:
        args: The command line: ``host``, both ports, ``speed``, ``seed``, ``faults``, ``keys``.
        serve: Serves apps on sockets until a signal; a test passes its own.
    """
    faults = _faults(args.faults) if args.faults else ()
    keys_file = KeysFile(args.keys, _REGIONS) if args.keys else None
    ports = {"beijing": args.beijing_port, "singapore": args.singapore_port}
    accounts = {
        name: {"sandbox": (key_of(name),)} if keys_file is None else keys_file.accounts(name)
        for name in _REGIONS
    }
    with ExitStack() as stack:
        apps = []
        for name, port in ports.items():
            config = SandboxConfig(
                region=name,
                accounts=accounts[name],
                changing_accounts=None if keys_file is None else partial(keys_file.accounts, name),
                speed=args.speed,
                seed=args.seed,
                faults=faults,
            )
            listener = stack.enter_context(_listener(args.host, name, port))
            apps.append((create_sandbox(config), listener))
        first_key = {name: next(iter(of.values()))[0] for name, of in accounts.items()}
        base_urls = {name: _url(app[1]) for name, app in zip(ports, apps, strict=True)}
        # Programs that start this one wait for these lines, so they must not be buffered.
        print(_welcome(base_urls, first_key, args.speed), flush=True)
        asyncio.run(serve(apps))
    return 0


def key_of(region: str) -> str:
    """Return the key that is valid in *region* and refused in the other one, as with DashScope."""
    return f"sk-sandbox-{region}"


def _listener(host: str, region: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        what = f"cannot listen on {host}:{port} ({why})"
        raise ConfigError(f"--{region}-port: {what}; take another, or 0") from None


def _faults(file: Path) -> tuple[Fault, ...]:
    try:
        tables = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); fix --faults") from None
    except ValueError as error:
        raise ConfigError(f"{file}: is not JSON: {error}; fix that line") from None
    if not isinstance(tables, list):
        raise ConfigError(f"{file}: is not a list; put the faults between [ and ]")
    return tuple(_fault(file, number, table) for number, table in enumerate(tables))


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


def _welcome(base_urls: Mapping[str, str], key: Mapping[str, str], speed: float) -> str:
    beijing = base_urls["beijing"]
    return "\n".join(
        [
            *(f"{name:<9}  {url}  key {key[name]}" for name, url in base_urls.items()),
            "",
            _pace(speed),
            "",
            "One region, at once:",
            "",
            f"  DASHSCOPE_API_KEY={key['beijing']} DASHSCOPE_BASE_URL={beijing} \\",
            "    wan-gateway serve",
            "",
            "Both, by a config; wan-gateway key --tenant NAME prints a client's lines for it:",
            "",
            *(f"  export SANDBOX_{name.upper()}={key[name]}" for name in base_urls),
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
