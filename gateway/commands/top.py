"""``wan-gateway top``: show in a terminal what a running gateway does."""

import asyncio
import json
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import orjson

from gateway.commands.server_url import url_of
from gateway.config import ConfigError, load_server_and_dashboard
from gateway.config.rules import BaseUrl, KeyReference, take
from gateway.config.secret import secret
from gateway.config.table import Table
from gateway.domain.clock import Clock, SystemClock
from gateway.domain.loopback import is_loopback
from gateway.observe.redact import printable

_RETRY_SECONDS = 2.0
_TIMEOUT = httpx.Timeout(5.0, read=25.0)
"""The gateway sends something at least every 10 seconds."""
_REMEDIES = {
    401: "its token is missing or wrong; give --token env:NAME",
    404: "it serves no dashboard; set [dashboard] on = true in its config",
}
_DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Update:
    """The latest known state of a gateway."""

    url: str
    state: dict[str, Any] = field(default_factory=dict)
    """As the gateway sent it; empty before the first."""
    received_at: float = 0.0
    """When it was received: monotonic seconds."""
    error: str = ""
    """Why there is no newer state."""


Paint = Callable[[Update], None]
Screen = Callable[[bool, Clock], AbstractContextManager[Paint]]
"""Opens a screen, to be repainted or printed once; the block paints updates on it."""


def run(args: Namespace, environ: Mapping[str, str], clock: Clock | None = None) -> int:
    """
    Show updates until Ctrl-C, or one update if ``--once`` is given or there is no terminal.

    Args:
        args: The command line: ``config``, ``url``, ``token``, ``once``, ``json``.
        environ: Holds the token.
        clock: Time; a test passes its own.

    Returns:
        0; 1 if a single update was requested and the gateway does not answer.
    """
    url, token = _address(args, environ)
    clock = clock or SystemClock()
    # Without a terminal there is nothing to repaint; lines of JSON can still follow each other.
    once = args.once or not (args.json or sys.stdout.isatty())
    screen = _lines if args.json else _rich_screen()
    with screen(not once, clock) as paint:
        return asyncio.run(_show(updates(url, token, clock), paint, once=once))


async def _show(received: AsyncGenerator[Update], paint: Paint, *, once: bool) -> int:
    async with aclosing(received):
        async for update in received:
            if once and update.error:
                print(printable(f"{update.url}: {update.error}"), file=sys.stderr)
                return 1
            paint(update)
            if once:
                break
    return 0


def _address(args: Namespace, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the URL of the gateway and its token, from the options or else the config."""
    url = _DEFAULT_URL
    token = None
    if args.config is not None:
        server, dashboard = load_server_and_dashboard(args.config, environ)
        url = args.url or url_of(server)
        token = dashboard.token
    table = Table("top", "", {"--url": args.url, "--token": args.token})
    if args.url is not None:
        url = take(table, "--url", BaseUrl(f'a URL such as "{_DEFAULT_URL}"'))
    if args.token is not None:
        token = secret(table, "--token", take(table, "--token", KeyReference()), environ)
    return url, token


def _rich_screen() -> Screen:
    try:
        return cast("Screen", import_module("gateway.commands.top_screen").open_screen)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "rich":
            raise
        remedy = 'pip install "wan-gateway[top]", or add --json'
        raise ConfigError(f"top: the package rich is not installed; {remedy}") from None


@contextmanager
def _lines(_stays: bool, _clock: Clock) -> Iterator[Paint]:  # noqa: FBT001 - as Screen says
    """Write each state as a line of JSON."""

    def write(update: Update) -> None:
        if not update.error:
            print(json.dumps(update.state), flush=True)

    yield write


async def updates(
    url: str,
    token: str | None,
    clock: Clock,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncGenerator[Update]:
    """
    Yield each state and each error, without end; after an error, connect again.

    Args:
        url: The gateway's, without a path.
        token: Its dashboard's, if it has one.
        clock: Time.
        transport: Carries the calls; a test passes its own.

    Raises:
        ConfigError: another attempt would not help.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    is_local = is_loopback(urlsplit(url).hostname or "")
    last = Update(url)
    async with httpx.AsyncClient(
        headers=headers, timeout=_TIMEOUT, trust_env=not is_local, transport=transport
    ) as http:
        while True:
            error = "the gateway stops"
            try:
                async with aclosing(_states(http, url)) as states:
                    async for state in states:
                        last = Update(url, state, clock.now())
                        yield last
            except httpx.HTTPError as failure:
                error = str(failure) or type(failure).__name__
            yield replace(last, error=error)
            await clock.sleep(_RETRY_SECONDS)


async def _states(http: httpx.AsyncClient, url: str) -> AsyncGenerator[dict[str, Any]]:
    async with http.stream("GET", f"{url}/dashboard/events") as answer:
        if answer.status_code in {401, 403, 404}:
            await answer.aread()
            raise ConfigError(f"{url}: {_remedy(answer)}")
        answer.raise_for_status()
        # One event is one line of data here; "end" and "beat" have empty ones.
        async for line in answer.aiter_lines():
            if line.startswith('data: {"now"'):
                yield orjson.loads(line.removeprefix("data: "))


def _remedy(answer: httpx.Response) -> str:
    if answer.status_code in _REMEDIES:
        return _REMEDIES[answer.status_code]
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, TypeError, LookupError):
        return f"it answers {answer.status_code}; give the --url of a gateway"
