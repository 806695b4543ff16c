"""The dashboard's stream of states, read from a gateway far or near, for as long as it takes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from gateway.config import ConfigError
from gateway.domain.clock import Clock
from gateway.domain.loopback import is_loopback

_AGAIN_SECONDS = 2.0
_TIMEOUT = httpx.Timeout(5.0, read=25.0)
"""The gateway says something every 10 seconds."""
_REMEDIES = {
    401: "its token is missing or wrong; give --token env:NAME",
    404: "it serves no dashboard; set [dashboard] on = true in its config",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What was last heard of a gateway."""

    url: str
    state: dict[str, Any] = field(default_factory=dict)
    """As the gateway wrote it; empty while nothing was heard."""
    received: float = 0.0
    """By our monotonic clock."""
    trouble: str = ""
    """Why nothing newer is known."""


async def looks(
    url: str,
    token: str | None,
    clock: Clock,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncGenerator[Look]:
    """
    Yield each state, and each trouble, for ever; after a trouble it tries again.

    Args:
        url: Of the gateway, without a path.
        token: Of its dashboard, if that has one.
        clock: Time.
        transport: How bytes travel; a test hands in its own.

    Raises:
        ConfigError: to try again would not help.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    near = is_loopback(urlsplit(url).hostname or "")
    last = Look(url)
    async with httpx.AsyncClient(
        headers=headers, timeout=_TIMEOUT, trust_env=not near, transport=transport
    ) as http:
        while True:
            trouble = "it stops"
            try:
                async with aclosing(_states(http, url)) as states:
                    async for state in states:
                        last = Look(url, state, clock.now())
                        yield last
            except httpx.HTTPError as error:
                trouble = str(error) or type(error).__name__
            yield replace(last, trouble=trouble)
            await clock.sleep(_AGAIN_SECONDS)


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
        return f"it answers {answer.status_code}; give --url of a gateway"
