"""The client's end of the connection, watched by the one pending receive() of a request."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from starlette.types import Receive

from gateway.downstream.body import ClientLeft

_T = TypeVar("_T")


class DisconnectWatch:
    """
    Knows whether the client is still there; used once the request body was read.

    Starlette does not cancel a handler when the client hangs up: only a pending receive()
    tells. It waits beside the work for the length of the block.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._group = asyncio.TaskGroup()
        self._waiting: asyncio.Timeout | None = None
        self.left = False

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._watch = self._group.create_task(self._wait_for_leaving())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self._watch.cancel()
        # The group only owns the watch: what the block raises goes on as it is, in no group.
        await self._group.__aexit__(None, None, None)

    async def unless_left(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """
        Return what *work* brings, or cancel it when the client leaves.

        Raises:
            CustomerLeft: nobody is there any more.
        """
        if self.left:
            raise ClientLeft
        try:
            # Without an end of its own, this is asyncio's way to cancel one wait from outside.
            async with asyncio.timeout(None) as self._waiting:
                return await work()
        except TimeoutError as exc:
            if self.left:
                raise ClientLeft from exc
            raise
        finally:
            self._waiting = None

    async def _wait_for_leaving(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if self._waiting is not None:
            self._waiting.reschedule(0)
