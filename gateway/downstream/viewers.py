"""
What the dashboard shows, and to whom: the stream of states, recent replies, thumbnails.

There is no task in the background: each viewer's own request reads the state once a second,
and all who ask within one second share one reading. Without viewers nothing runs. A state in
which nothing has changed is not sent again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from cachetools import LRUCache
from starlette.types import Send

from gateway.domain.clock import Clock
from gateway.domain.errors import Overloaded
from gateway.domain.snapshot import Capped
from gateway.downstream.access_record import AccessRecord
from gateway.downstream.disconnect import ClientLeft, DisconnectWatch
from gateway.downstream.ports import AccessLog

MOST_VIEWERS = 16
PERIOD_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
_STALL_SECONDS = 20.0
"""A viewer that takes no byte for so long counts as disconnected; nothing is queued for it."""
_SHARED = 0.9
"""For how much of a period one reading serves all viewers."""

_MOST_REPLIES = 40
_EDIT_ROUTES = "/v1/images/"

MOST_THUMBNAILS = 100
_MOST_BYTES = 1_000_000
"""Of all thumbnails together."""
_MOST_QUEUED = 8
_LARGEST_PICTURE = 4_000_000
"""Bytes of a picture that may wait to be shrunk."""

Shrink = Callable[[bytes], Awaitable[bytes | None]]
"""A picture → a small one; ``None``: there was no time for it, or it cannot be decoded."""


class Viewers:
    """
    The streams to all viewers.

    Args:
        read_state: Returns the state as a JSON object without its time.
        clock: Time.
    """

    def __init__(self, read_state: Callable[[], bytes], clock: Clock) -> None:
        self._read_state = read_state
        self._clock = clock
        self._state = b""
        self._number = 0
        """Counts the states that differed."""
        self._read_at = float("-inf")
        self._closed = False
        self._endings: set[asyncio.Future[None]] = set()
        """One for each viewer; its result ends the stream."""

    @property
    def present(self) -> int:
        """How many viewers are connected."""
        return len(self._endings)

    def close(self) -> None:
        """End every stream now, and each later one at once: the process stops."""
        self._closed = True
        self.end_streams()

    def end_streams(self) -> None:
        """End every stream now; its viewer may connect again."""
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
        return self._with_time()

    async def stream(self, send: Send, client: DisconnectWatch) -> None:
        """
        Send states until the viewer disconnects, or its stream is ended.

        Raises:
            ClientLeft: the viewer has disconnected, or takes no bytes.
        """
        ending = asyncio.get_running_loop().create_future()
        self._endings.add(ending)
        try:
            # How many milliseconds a browser waits before it connects again.
            await _send(send, b"retry: 2000\n\n")
            await self._send_states(send, client, ending)
            if self._closed:
                await _send(send, b"event: end\ndata: {}\n\n")
        finally:
            self._endings.discard(ending)

    async def _send_states(
        self, send: Send, client: DisconnectWatch, ending: "asyncio.Future[None]"
    ) -> None:
        seen = 0
        sent_at = self._clock.now()
        while not (self._closed or ending.done()):
            if event := self._event(seen, self._clock.now() - sent_at):
                seen = self._number
                sent_at = self._clock.now()
                await _send(send, event)
            await client.unless_left(lambda: asyncio.wait([ending], timeout=PERIOD_SECONDS))

    def _event(self, seen: int, silence: float) -> bytes:
        """Return a state other than *seen*; else a heartbeat, after a long *silence*."""
        self._refresh()
        if self._number != seen:
            return b"data: " + self._with_time() + b"\n\n"
        return b"event: beat\ndata: {}\n\n" if silence >= HEARTBEAT_SECONDS else b""

    def _refresh(self) -> None:
        now = self._clock.now()
        if now - self._read_at < _SHARED * PERIOD_SECONDS:
            return
        self._read_at = now
        state = self._read_state()
        if state != self._state:
            self._state = state
            self._number += 1

    def _with_time(self) -> bytes:
        return b'{"now":%.3f,' % self._clock.now() + self._state[1:]


async def _send(send: Send, piece: bytes) -> None:
    try:
        async with asyncio.timeout(_STALL_SECONDS):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError:
        raise ClientLeft from None


@dataclass(frozen=True, slots=True)
class ReplySeen:
    """How one request for pictures ended, as viewers see it."""

    at: float
    """Monotonic time at which the last byte went out."""
    edit_id: str
    """Empty where it was refused before there was an edit."""
    tenant: str
    region: str
    accounts: tuple[str, ...]
    code: int
    outcome: str
    """``ok``, ``customer_left``, or the code of the error."""
    upstream_code: str
    seconds: float
    phases: tuple[tuple[str, float], ...]
    """Each phase and its seconds."""


class RecentReplies:
    """
    An access log that keeps the last replies to edits and passes every record on.

    Args:
        log: The next access log.
    """

    def __init__(self, log: AccessLog) -> None:
        self._log = log
        self._records: deque[AccessRecord] = deque(maxlen=_MOST_REPLIES)
        self._total = 0

    def write(self, record: AccessRecord) -> None:
        if _ends_edit(record):
            self._records.appendleft(record)
            self._total += 1
        self._log(record)

    def recent(self) -> Capped[ReplySeen]:
        """Return the last ones, latest first, and how many there were since the start."""
        return Capped(tuple(map(_reply_seen, self._records)), self._total)


def _ends_edit(record: AccessRecord) -> bool:
    """Return whether a known client asked for pictures, and has its final response."""
    if not record.tenant or not record.route.startswith(_EDIT_ROUTES) or record.status == 202:
        return False
    return record.method == "POST" or (record.method == "GET" and record.edit is not None)


def _reply_seen(record: AccessRecord) -> ReplySeen:
    ended = record.started + record.seconds
    edit = record.edit
    spent = record.phases.spent(ended) if record.phases else {}
    return ReplySeen(
        at=round(ended, 3),
        edit_id=edit.edit_id if edit else "",
        tenant=record.tenant,
        region=edit.region if edit else "",
        accounts=edit.accounts if edit else (),
        code=record.status,
        outcome=record.outcome,
        upstream_code=record.upstream_code,
        seconds=round(record.seconds, 3),
        phases=tuple((phase.value, round(seconds, 3)) for phase, seconds in spent.items()),
    )


class Thumbnails:
    """
    Makes small pictures of what is edited and keeps a few of them, in memory only.

    They are made only while somebody watches, in imaging threads that are free; nothing waits
    for them, and what is too much is left out.

    Args:
        shrink: Makes a small picture; see gateway.imaging.
        watched: Returns whether there is a viewer now.
    """

    def __init__(self, shrink: Shrink, watched: Callable[[], bool]) -> None:
        self._shrink = shrink
        self._watched = watched
        # Each counts for so many bytes at least that their number is bounded too.
        self._by_id: LRUCache[str, bytes] = LRUCache(
            _MOST_BYTES, getsizeof=lambda picture: max(len(picture), _MOST_BYTES // MOST_THUMBNAILS)
        )
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MOST_QUEUED)

    def of(self, edit_id: str) -> bytes | None:
        return self._by_id.get(edit_id)

    def edit_ids(self) -> tuple[str, ...]:
        """Return the edits of which there is one."""
        return tuple(self._by_id)

    def offer(self, edit_id: str, picture: bytes) -> None:
        """Have *picture* shrunk soon, unless there is no viewer or too many wait for that."""
        wanted = 0 < len(picture) <= _LARGEST_PICTURE and edit_id not in self._by_id
        if wanted and self._watched() and not self._queue.full():
            self._queue.put_nowait((edit_id, picture))

    async def run(self) -> NoReturn:
        """Shrink one picture after another, for ever; cancel to end."""
        while True:
            edit_id, picture = await self._queue.get()
            small = await self._shrink(picture)
            if small is not None and len(small) <= _MOST_BYTES:
                self._by_id[edit_id] = small
