"""``wan-gateway top``: what a running gateway does, in a terminal."""

import asyncio
import json
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from importlib import import_module
from typing import cast

from gateway.commands.top_stream import Look, looks
from gateway.config import ConfigError, load_watch
from gateway.config.rules import BaseUrl, KeyReference, take
from gateway.config.secret import secret
from gateway.config.table import Table
from gateway.domain.clock import Clock, SystemClock
from gateway.observe.printable import printable

Paint = Callable[[Look], None]
Screen = Callable[[bool, Clock], AbstractContextManager[Paint]]
"""Given whether it stays: what paints looks, for the length of a block."""

_DEFAULT = "http://127.0.0.1:8080"
_UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not listened on


def run(asked: Namespace, environ: Mapping[str, str], clock: Clock | None = None) -> int:
    """
    Show looks until Ctrl-C; one, where one is asked for or nobody could see a second.

    Args:
        asked: The command line: ``config``, ``url``, ``token``, ``once``, ``json``.
        environ: Where the token is.
        clock: Time; a test hands in its own.

    Returns:
        0, or 1 if there was to be one look and the gateway does not answer.
    """
    url, token = _place(asked, environ)
    clock = clock or SystemClock()
    # Without a terminal a text that is painted over and over is of no use; lines of JSON are.
    once = asked.once or not (asked.json or sys.stdout.isatty())
    screen = _lines if asked.json else _painted()
    with screen(not once, clock) as paint:
        return asyncio.run(_show(looks(url, token, clock), paint, once=once))


async def _show(seen: AsyncGenerator[Look], paint: Paint, *, once: bool) -> int:
    async with aclosing(seen):
        async for look in seen:
            if once and look.trouble:
                print(printable(f"{look.url}: {look.trouble}"), file=sys.stderr)
                return 1
            paint(look)
            if once:
                break
    return 0


def _place(asked: Namespace, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return where the gateway serves, and its token: as told, else as the config says."""
    url = _DEFAULT
    token = None
    if asked.config is not None:
        server, dashboard = load_watch(asked.config, environ)
        host = _UNSPECIFIED.get(server.host, server.host).strip("[]")
        url = f"http://[{host}]" if ":" in host else f"http://{host}"
        url = f"{url}:{server.port}"
        token = dashboard.token
    table = Table("top", "", {"--url": asked.url, "--token": asked.token})
    if asked.url is not None:
        url = take(table, "--url", BaseUrl(f'a URL such as "{_DEFAULT}"'))
    if asked.token is not None:
        token = secret(table, "--token", take(table, "--token", KeyReference()), environ)
    return url, token


def _painted() -> Screen:
    try:
        return cast("Screen", import_module("gateway.commands.top_screen").painted)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "rich":
            raise
        remedy = 'pip install "wan-gateway[top]", or add --json'
        raise ConfigError(f"top: the package rich is not installed; {remedy}") from None


@contextmanager
def _lines(_stays: bool, _clock: Clock) -> Iterator[Paint]:  # noqa: FBT001 - as Screen says
    """Write each state as a line of JSON."""

    def write(look: Look) -> None:
        if not look.trouble:
            print(json.dumps(look.state), flush=True)

    yield write
