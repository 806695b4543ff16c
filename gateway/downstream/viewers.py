"""
The stream of states to those who watch: server-sent events, at most one a second.

There is no task in the background: each viewer's own request asks for the state when a
second is over, and those who ask within one second share one look. With nobody there nothing
runs. A state in which nothing has changed is not sent again.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

from cachetools import LRUCache
from starlette.types import Send

from gateway.domain.clock import Clock, Phases
from gateway.domain.errors import Overloaded
from gateway.domain.snapshot import Capped
from gateway.domain.tenant import Tenant
from gateway.downstream.access_record import AccessRecord
from gateway.downstream.body import ClientLeft
from gateway.downstream.disconnect import DisconnectWatch
from gateway.downstream.ports import AccessLog, EditService, Waiter
from gateway.edits.request import EditRequest, EditStatus

_MOST = 40
_EDITS = "/v1/images/"


@dataclass(frozen=True, slots=True)
class ReplySeen:
    """How one client's call ended."""

    at: float
    """Monotonic: when the last byte went out."""
    edit_id: str
    """Empty where it was refused before there was an edit."""
    tenant: str
    region: str
    accounts: tuple[str, ...]
    code: int
    outcome: str
    """``ok``, ``customer_left``, or the code of the refusal."""
    upstream_code: str
    seconds: float
    phases: tuple[tuple[str, float], ...]
    """Each phase, and how many seconds it took."""


class RecentReplies:
    """
    A LineLog before another one: passes every line on, and remembers the last ends of edits.

    Args:
        log: Who writes.
    """

    def __init__(self, log: AccessLog) -> None:
        self._log = log
        self._lines: deque[AccessRecord] = deque(maxlen=_MOST)
        self._total = 0

    def log_line(self, record: AccessRecord) -> None:
        if _is_end(record):
            self._lines.appendleft(record)
            self._total += 1
        self._log.log_line(record)

    def recent(self) -> Capped[ReplySeen]:
        """Return the last ones, youngest first, and how many there were since the start."""
        return Capped(tuple(_seen(line) for line in self._lines), self._total)


def _is_end(line: AccessRecord) -> bool:
    """Say whether a known client asked for pictures, and that is over now."""
    if not line.tenant or not line.route.startswith(_EDITS) or line.status == 202:
        return False
    return line.method == "POST" or (line.method == "GET" and line.told is not None)


def _seen(line: AccessRecord) -> ReplySeen:
    ended = line.started + line.seconds
    told = line.told
    spent = line.phases.spent(ended) if line.phases else {}
    return ReplySeen(
        at=round(ended, 3),
        edit_id=told.edit_id if told else "",
        tenant=line.tenant,
        region=told.region if told else "",
        accounts=told.accounts if told else (),
        code=line.status,
        outcome=line.outcome,
        upstream_code=line.upstream_code,
        seconds=round(line.seconds, 3),
        phases=tuple((phase.value, round(seconds, 3)) for phase, seconds in spent.items()),
    )


MOST_THUMBNAILS = 100
_MOST_BYTES = 1_000_000
"""Of all thumbnails together."""
_MOST_IN_LINE = 8
_LARGEST = 4_000_000
"""Bytes of a picture that may wait to be shrunk: eight of them at the most."""

Shrink = Callable[[bytes], Awaitable[bytes | None]]
"""A picture → a small one; ``None``: no time for it, or it cannot be read."""


class Thumbnails:
    """
    Makes and keeps them.

    Args:
        shrink: gateway.imaging answers it.
        watched: Says whether somebody watches now.
    """

    def __init__(self, shrink: Shrink, watched: Callable[[], bool]) -> None:
        self._shrink = shrink
        self._watched = watched
        # Each counts for so many bytes at least that their number is bounded too.
        self._by_id: LRUCache[str, bytes] = LRUCache(
            _MOST_BYTES, getsizeof=lambda picture: max(len(picture), _MOST_BYTES // MOST_THUMBNAILS)
        )
        self._line: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MOST_IN_LINE)

    def of(self, edit_id: str) -> bytes | None:
        return self._by_id.get(edit_id)

    def known(self) -> tuple[str, ...]:
        return tuple(self._by_id)

    def wanted(self, picture: bytes) -> bool:
        """Say whether *picture* would be taken now."""
        return self._watched() and not self._line.full() and 0 < len(picture) <= _LARGEST

    def offer(self, edit_id: str, picture: bytes) -> None:
        """Have *picture* shrunk soon, unless too many wait for that."""
        if edit_id not in self._by_id and not self._line.full():
            self._line.put_nowait((edit_id, picture))

    async def run(self) -> NoReturn:
        """Shrink one after another, for ever; cancel to end."""
        while True:
            edit_id, picture = await self._line.get()
            small = await self._shrink(picture)
            if small is not None and len(small) <= _MOST_BYTES:
                self._by_id[edit_id] = small


class WatchedService:
    """A service that shows the first picture of each edit around."""

    def __init__(self, service: EditService, thumbnails: Thumbnails) -> None:
        self._desk = service
        self._thumbnails = thumbnails

    @asynccontextmanager
    async def attend(self, edit_request: EditRequest) -> AsyncIterator[Waiter]:
        # Taken now: once it attends, the edit has the pictures, and lets them go.
        first = edit_request.pictures[0].content if edit_request.pictures else b""
        async with self._desk.attend(edit_request) as waiter:
            if self._thumbnails.wanted(first):
                self._thumbnails.offer(waiter.told.edit_id, first)
            del first
            yield waiter

    def collect(
        self, tenant: Tenant, edit_id: str, *, patience: float, phases: Phases
    ) -> AbstractAsyncContextManager[Waiter]:
        return self._desk.collect(tenant, edit_id, patience=patience, phases=phases)

    async def withdraw(self, tenant: Tenant, edit_id: str) -> EditStatus:
        return await self._desk.withdraw(tenant, edit_id)


MOST_VIEWERS = 16
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
        if self.present >= MOST_VIEWERS:
            raise Overloaded(
                f"{MOST_VIEWERS} are watching already; close one of them.", retry_after=10.0
            )

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
