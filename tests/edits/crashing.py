"""A process that dies at a chosen moment, as by SIGKILL: from then on it does nothing at all."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any, TypeVar

from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.errors import GatewayError, UpstreamFailed
from gateway.domain.record import EditRecord, EditState, TaskRecord
from gateway.domain.task import Accepted, ResultImage, Task, TaskPage, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.ports import DashScope, Ledger, ResultUrls
from gateway.edits.request import EditRequest, EditResult, IncomingPicture
from tests.edits.harness import EditHarness

T = TypeVar("T")


class MortalProcess:
    """
    Ends at the *last* step, counted from 1; every call is two steps, before and after.

    What was called before the end goes on upstream, but its answer reaches nobody.
    """

    def __init__(self, last: int) -> None:
        self.last = last
        self.steps = 0
        self.where = ""
        self.over = asyncio.Event()
        self._buried = asyncio.Event()

    def bury(self) -> None:
        """Let everything that hangs in this life be cancelled."""
        self._buried.set()

    async def call(self, name: str, work: Awaitable[T]) -> T:
        """Do *work* if there is life before it; return if there is life after it."""
        try:
            await self._step(f"before {name}")
        except asyncio.CancelledError:
            if asyncio.iscoroutine(work):
                work.close()
            raise
        result = await asyncio.shield(asyncio.ensure_future(work))  # noqa: TID251 - outlives its caller
        await self._step(f"after {name}")
        return result

    async def _step(self, where: str) -> None:
        if not self.over.is_set():
            self.steps += 1
            if self.steps == self.last:
                self.where = where
                self.over.set()
        if self.over.is_set():
            await self._buried.wait()
            raise asyncio.CancelledError


class MortalDashScope:
    """Calls of one process to a DashScope that outlives it."""

    def __init__(self, dashscope: DashScope, life: MortalProcess) -> None:
        self._simulated = dashscope
        self._life = life

    async def upload(
        self, upstream: Upstream, edit: Edit, part: Part, pictures: tuple[Picture, ...]
    ) -> tuple[Picture, ...]:
        return await self._simulated.upload(upstream, edit, part, pictures)

    async def submit(self, *given: Any) -> Accepted:
        work = self._simulated.submit(*given)
        return await self._life.call("submit", work)

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        return await self._life.call("fetch", self._simulated.fetch(upstream, task_id))

    async def cancel(self, upstream: Upstream, task_id: str) -> bool:
        return await self._life.call("cancel", self._simulated.cancel(upstream, task_id))

    async def tasks(
        self,
        upstream: Upstream,
        *,
        since: float,
        until: float,
        status: TaskStatus | None = None,
        page: int = 1,
        page_size: int = 100,
    ) -> TaskPage:
        work = self._simulated.tasks(
            upstream, since=since, until=until, status=status, page=page, page_size=page_size
        )
        return await self._life.call("tasks", work)

    def clock_known(self, region: str) -> bool:
        return self._simulated.clock_known(region)

    def clock_offset(self, region: str) -> float:
        return self._simulated.clock_offset(region)

    async def open(self, upstream: Upstream, url: str) -> bytes | IncomingPicture:
        return await self.download(upstream, url)

    async def download(self, upstream: Upstream, url: str) -> bytes:
        return await self._life.call("download", self._simulated.download(upstream, url))


class MortalLedger:
    """Writes of one process to a ledger that outlives it."""

    def __init__(self, ledger: Ledger, life: MortalProcess) -> None:
        self._ledger = ledger
        self._life = life

    async def intend(self, edit: EditRecord, task: TaskRecord) -> None:
        await self._life.call("intend", self._ledger.intend(edit, task))

    async def accept(
        self, edit_id: str, part: int, upstream: str, task_id: str, *, attempt: str = ""
    ) -> bool:
        work = self._ledger.accept(edit_id, part, upstream, task_id, attempt=attempt)
        return await self._life.call("accept", work)

    async def void(self, edit_id: str, part: int, *, attempt: str = "") -> None:
        await self._life.call("void", self._ledger.void(edit_id, part, attempt=attempt))

    async def end_task(self, edit_id: str, part: int, outcome: str, *, attempt: str = "") -> None:
        work = self._ledger.end_task(edit_id, part, outcome, attempt=attempt)
        await self._life.call("end_task", work)

    async def end_edit(
        self, edit_id: str, state: EditState, error: GatewayError | None = None
    ) -> None:
        await self._life.call("end_edit", self._ledger.end_edit(edit_id, state, error))

    async def promise(self, edit: EditRecord) -> None:
        await self._life.call("promise", self._ledger.promise(edit))

    async def unpromise(self, edit_id: str) -> None:
        await self._life.call("unpromise", self._ledger.unpromise(edit_id))

    async def deliver(self, edit_id: str, *, ago: float = 0.0) -> None:
        await self._life.call("deliver", self._ledger.deliver(edit_id, ago=ago))

    async def find_delivered(
        self, tenant: str, digests: Collection[str], within: float
    ) -> EditRecord | None:
        return await self._ledger.find_delivered(tenant, digests, within)

    async def find(self, edit_id: str) -> EditRecord | None:
        return await self._ledger.find(edit_id)

    async def find_key(self, tenant: str, idempotency_key: str) -> EditRecord | None:
        return await self._ledger.find_key(tenant, idempotency_key)

    async def owed(self) -> list[EditRecord]:
        return await self._ledger.owed()

    async def find_tasks(self, task_ids: Collection[str]) -> set[str]:
        return await self._life.call("find_tasks", self._ledger.find_tasks(task_ids))


class MortalResultUrls:
    """Writes of one life to result URLs that outlive it."""

    def __init__(self, result_urls: ResultUrls, life: MortalProcess) -> None:
        self._result_urls = result_urls
        self._life = life

    async def put(self, edit_id: str, part: int, made: tuple[ResultImage, ...]) -> None:
        await self._life.call("result URLs", self._result_urls.put(edit_id, part, made))

    async def get(self, edit_id: str, part: int) -> tuple[ResultImage, ...] | None:
        return await self._life.call("look for result URLs", self._result_urls.get(edit_id, part))

    async def drop(self, *edit_ids: str) -> None:
        await self._result_urls.drop(*edit_ids)

    async def list_ids(self) -> list[str]:
        return await self._result_urls.list_ids()


async def run_until_death(
    harness: EditHarness,
    request: Callable[[int], EditRequest],
    last: int,
    refused: type[GatewayError] = UpstreamFailed,
) -> tuple[MortalProcess, EditResult | None]:
    """Let a client come, who may be *refused* so, to a process that dies at step *last*."""
    life = MortalProcess(last)
    service = harness.service(
        dashscope=MortalDashScope(harness.dashscope, life),
        ledger=MortalLedger(harness.ledger, life),
        result_urls=MortalResultUrls(harness.result_urls, life),
    )
    answer: list[EditResult] = []

    async def come() -> None:
        with suppress(refused):
            async with service.attend(request(0)) as waiter:
                answer.append(await waiter.answer())  # from here on the client has it
                await waiter.delivered()
        life.over.set()

    async with service, asyncio.TaskGroup() as group:
        client = group.create_task(come())
        await life.over.wait()
        client.cancel()
        life.bury()
    return life, answer[0] if answer else None
