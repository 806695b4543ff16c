"""The account of one account, its upstreams, and who waits in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.domain.tenant import Upstream
from gateway.edits.account import Accounts, AccountState, build_accounts
from gateway.edits.fair_queue import Ticket
from tests.fakes import FakeDashScope, an_account, an_upstream
from tests.recording_observer import RecordingObserver
from tests.warp import WarpClock

ONE, TWO = an_upstream("one"), an_upstream("two")
FAR = an_upstream("far", an_account("far"))


def accounts_of(*upstreams: Upstream) -> Accounts:
    """Return the accounts of *upstreams*, as a service has them."""
    clock = WarpClock()
    return build_accounts(
        upstreams,
        dashscope=FakeDashScope(clock),
        clock=clock,
        observer=RecordingObserver(),
    )


def account_state(name: str = "acct", *upstreams: Upstream, **limits: Any) -> AccountState:
    clock = WarpClock()
    return AccountState(
        an_account(name, **limits),
        upstreams,
        dashscope=FakeDashScope(clock),
        clock=clock,
        observer=RecordingObserver(),
    )


@asynccontextmanager
async def tickets_queued(account: AccountState, *places: Ticket) -> AsyncIterator[None]:
    """Let *places* wait in the account's line; whose turn it is keeps its slot."""

    async def wait(ticket: Ticket) -> None:
        async with account.queue.slot(ticket):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(wait(ticket)) for ticket in places]
        await asyncio.sleep(0)
        yield
        for one in waiting:
            one.cancel()
