"""The first bytes of an answer, which may go out before its edit has ended."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import Send

from gateway.downstream.delivery import send_head
from gateway.downstream.disconnect import DisconnectWatch
from gateway.downstream.edit_headers import edit_headers, server_timing
from gateway.downstream.manner import Manner
from gateway.downstream.ports import Waiter
from gateway.edits.request import EditResult


@dataclass(slots=True)
class Opening:
    """
    Keeps one connection awake while its edit is waited for.

    The head goes out with the first beat and not before, so that whatever goes wrong until
    then is still told by its status, which SDKs retry by.
    """

    manner: Manner
    asked: Mapping[str, str]
    """Headers that the request alone decides."""
    waiter: Waiter
    client: DisconnectWatch
    send: Send
    every: float
    """Seconds from beat to beat."""
    longest: float
    """Seconds that a client waits who hears of us."""
    sent: dict[str, str] = field(default_factory=dict)
    """The head that went out; empty while none did."""

    async def answer(self) -> EditResult:
        """
        Wait for the edit.

        Raises:
            GatewayError: it ended badly, or the deadline came.
        """
        if not self.manner.begins_at:
            return await self.waiter.answer()
        over = asyncio.get_running_loop().create_future()
        group = asyncio.TaskGroup()
        await group.__aenter__()
        group.create_task(self._keep_awake(over))
        try:
            return await self.waiter.answer()
        finally:
            over.set_result(None)
            # Waits for a beat under way, since half a head would break the answer. The group
            # only owns the beats: what the visit raises goes on as it is, in no group.
            await group.__aexit__(None, None, None)

    async def begin(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Send the head, unless it went out; return those of *headers* that it did not tell."""
        if not self.sent:
            self.sent = {**self.manner.headers, **headers}
            await send_head(self.send, self.sent)
        return {name: value for name, value in headers.items() if self.sent.get(name) != value}

    async def _keep_awake(self, over: "asyncio.Future[None]") -> None:
        while not (await asyncio.wait([over], timeout=self.every))[0]:
            if self.client.left:
                return
            if not self.sent and self.waiter.told.status in self.manner.begins_at:
                self.waiter.extend(self.longest)
                timing = {"server-timing": server_timing(self.waiter.spent())}
                await self.begin({**edit_headers(self.waiter.told), **self.asked, **timing})
            if self.sent:
                beat = {"type": "http.response.body", "body": self.manner.beat, "more_body": True}
                await self.send(beat)
