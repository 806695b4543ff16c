"""Notices that the client disconnects, by the one pending receive() of its request."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from starlette.types import Receive

_T = TypeVar("_T")


class ClientLeft(Exception):
    """The client disconnected: no response can reach it."""


class DisconnectWatch:
    """
    Knows whether the client is still connected. Enter it once the request body was read.

    Starlette does not cancel a handler when the client disconnects: only a pending receive()
    returns then. It waits in a task of its own for the length of the block.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._group = asyncio.TaskGroup()
        self._timeout: asyncio.Timeout | None = None
        self.left = False

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._watch = self._group.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self._watch.cancel()
        # The group owns the watch only: what the block raises is raised as it is.
        await self._group.__aexit__(None, None, None)

    async def unless_left(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """
        Return the result of *work*, or cancel it when the client disconnects.

        Raises:
            ClientLeft: it has disconnected.
        """
        if self.left:
            raise ClientLeft
        try:
            # A timeout without an end is asyncio's way to cancel one wait from outside. Unlike
            # anyio's scope it cancels once, so that the work may await while it cleans up.
            async with asyncio.timeout(None) as self._timeout:
                return await work()
        except TimeoutError as exc:
            if self.left:
                raise ClientLeft from exc
            raise
        finally:
            self._timeout = None

    async def _run(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if self._timeout is not None:
            self._timeout.reschedule(0)
