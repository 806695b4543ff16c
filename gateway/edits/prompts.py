"""Which prompts of an account have an open submit: at most one each (P5)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Prompts:
    """
    A lock for each prompt, by its digest.

    An uncertain submit is settled by its prompt, so two of equal prompt must never be open
    at once.

    Args:
        on_free: Called when a prompt has been released and no ``hold`` waits for it.
    """

    def __init__(self, on_free: Callable[[str], None] = lambda _: None) -> None:
        self._on_free = on_free
        self._waiting_by_prompt: dict[str, deque[asyncio.Future[None]]] = {}
        """Of each held prompt, those that wait in ``hold``."""
        self._shares: dict[str, int] = {}
        """How many hold a prompt together with the one that took it."""

    def held(self, prompt: str | None) -> bool:
        return prompt in self._waiting_by_prompt

    def take(self, prompt: str) -> None:
        """Hold a prompt that is free; ``release`` ends it."""
        assert prompt not in self._waiting_by_prompt
        self._waiting_by_prompt[prompt] = deque()

    def share(self, prompt: str) -> None:
        """Hold a prompt that is held already; it is passed on when all have released it."""
        assert prompt in self._waiting_by_prompt
        self._shares[prompt] = self._shares.get(prompt, 0) + 1

    def release(self, prompt: str) -> None:
        """Pass the prompt on to the first that waits in ``hold``; or free it."""
        if shares := self._shares.pop(prompt, 0):
            if shares > 1:
                self._shares[prompt] = shares - 1
            return
        waiting = self._waiting_by_prompt[prompt]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting_by_prompt[prompt]
        self._on_free(prompt)

    async def acquire(self, prompt: str) -> None:
        """Hold the prompt once it is free; ``release`` ends it."""
        if prompt in self._waiting_by_prompt:
            await self._turn(prompt)
        else:
            self.take(prompt)

    @asynccontextmanager
    async def hold(self, prompt: str) -> AsyncIterator[None]:
        """Hold the prompt for the length of the block, once it is free."""
        await self.acquire(prompt)
        try:
            yield
        finally:
            self.release(prompt)

    async def _turn(self, prompt: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting_by_prompt[prompt].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was passed on in the same moment
                self.release(prompt)
            raise
