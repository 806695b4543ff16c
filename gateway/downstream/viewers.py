"""
The stream of states to those who watch: server-sent events, at most one a second.

There is no task in the background: each viewer's own request asks for the state when a
second is over, and those who ask within one second share one look. With nobody there nothing
runs. A state in which nothing has changed is not sent again.
"""

import asyncio
from collections.abc import Callable

from starlette.types import Send

from gateway.domain.clock import Clock
from gateway.domain.errors import Overloaded
from gateway.downstream.body import ClientLeft
from gateway.downstream.disconnect import DisconnectWatch

MOST = 16
PERIOD_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
_STALL_SECONDS = 20.0
"""A viewer that takes no byte for so long is taken for gone; nothing is queued for it."""
_SHARED = 0.9
"""How much of a period a look serves the others."""


class Viewers:
    """
    Those who watch, and what they see.

    Args:
        look: Returns the state as a JSON object without its time.
        clock: Time.
    """

    def __init__(self, look: Callable[[], bytes], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._state = b""
        self._number = 0
        self._looked_at = float("-inf")
        self._closed = False
        self._endings: set[asyncio.Future[None]] = set()
        """One for each viewer."""

    @property
    def present(self) -> int:
        """How many watch."""
        return len(self._endings)

    def close(self) -> None:
        """End every stream now, and each later one at once: the process stops."""
        self._closed = True
        while self._endings:
            self._endings.pop().set_result(None)

    def admit(self) -> None:
        """
        Refuse one viewer too many.

        Raises:
            Overloaded: there are enough.
        """
        if self.present >= MOST:
            raise Overloaded(f"{MOST} are watching already; close one of them.", retry_after=10.0)

    def state(self) -> bytes:
        """Return the state as JSON, with the time ``now`` that its instants are relative to."""
        self._refresh()
        return self._stamped()

    async def show(self, send: Send, client: DisconnectWatch) -> None:
        """
        Send states until the viewer leaves or the process stops.

        Raises:
            CustomerLeft: the viewer is gone, or takes nothing.
        """
        over = asyncio.get_running_loop().create_future()
        self._endings.add(over)
        try:
            # How long a browser waits before it connects again.
            await _send(send, b"retry: 2000\n\n")
            await self._go_on(send, client, over)
            await _send(send, b"event: end\ndata: {}\n\n")
        finally:
            self._endings.discard(over)

    async def _go_on(
        self, send: Send, client: DisconnectWatch, over: "asyncio.Future[None]"
    ) -> None:
        seen = 0
        told_at = self._clock.now()
        while not self._closed:
            piece = self._news(seen, self._clock.now() - told_at)
            if piece:
                seen = self._number
                told_at = self._clock.now()
                await _send(send, piece)
            await client.unless_left(lambda: asyncio.wait([over], timeout=PERIOD_SECONDS))

    def _news(self, seen: int, silence: float) -> bytes:
        """Return what is new since the state *seen*; else a beat, if there was a long *silence*."""
        self._refresh()
        if self._number != seen:
            return b"data: " + self._stamped() + b"\n\n"
        return b"event: beat\ndata: {}\n\n" if silence >= HEARTBEAT_SECONDS else b""

    def _refresh(self) -> None:
        now = self._clock.now()
        if now - self._looked_at < _SHARED * PERIOD_SECONDS:
            return
        self._looked_at = now
        state = self._look()
        if state != self._state:
            self._state = state
            self._number += 1

    def _stamped(self) -> bytes:
        return b'{"now":%.3f,' % self._clock.now() + self._state[1:]


async def _send(send: Send, piece: bytes) -> None:
    try:
        async with asyncio.timeout(_STALL_SECONDS):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError:
        raise ClientLeft from None
