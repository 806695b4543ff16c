"""A service with fakes of all that it needs, and clients that use it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.domain.ended import EndedEdit
from gateway.domain.errors import GatewayError, SubmitUncertain, UpstreamUnreachable
from gateway.domain.tenant import Tenant
from gateway.edits.ports import (
    DashScope,
    Ledger,
    NoLimit,
    Observer,
    PictureMemory,
    Ports,
    PromisedEdits,
    Results,
    ResultUrls,
    Spool,
)
from gateway.edits.request import EditRequest, EditResult
from gateway.edits.service import EditService
from gateway.edits.waiter import Waiter
from tests.fake_stores import (
    FakeFinisher,
    FakeLedger,
    FakeMaskSources,
    FakePromisedEdits,
    FakeResultUrls,
)
from tests.fakes import FakeDashScope, Run, Submit, a_request, a_tenant, an_account, an_upstream
from tests.models import TABLE
from tests.recording_observer import RecordingObserver
from tests.warp import WarpClock

UNREACHABLE = UpstreamUnreachable("No connection.")
CUT = SubmitUncertain("The connection was cut.")
NARROW = an_account(running_tasks=1, pending_ahead=0)


class EditHarness:
    """One DashScope and one ledger; services, that is processes, come and go."""

    def __init__(
        self, *tenants: Tenant, running_limit: int = 0, clock: WarpClock | None = None
    ) -> None:
        self.clock = clock or WarpClock()
        self.tenants = tenants or (a_tenant(),)
        self.dashscope = FakeDashScope(self.clock, running_limit=running_limit)
        self.ledger = FakeLedger(self.clock.now)
        self.mask_sources = FakeMaskSources()
        self.result_urls = FakeResultUrls()
        self.promises = FakePromisedEdits()
        self.finisher = FakeFinisher()
        self.observer = RecordingObserver()
        self.bugs: list[BaseException] = []
        self.warnings: list[tuple[str, dict[str, str | float]]] = []
        """For the operator."""
        self.ended: list[EndedEdit] = []

    def service(
        self,
        *,
        dashscope: DashScope | None = None,
        ledger: Ledger | None = None,
        result_urls: ResultUrls | None = None,
        promises: PromisedEdits | None = None,
        spool: Spool | None = None,
        observer: Observer | None = None,
        abandon: bool = False,
        submits_end_at: float = 0.0,
        may_submit: Callable[[], bool] = lambda: True,
        results: Results | None = None,
        memory_of: Callable[[str], PictureMemory] = lambda _: NoLimit(),
    ) -> EditService:
        return EditService(
            tenants=self.tenants,
            ports=Ports(
                dashscope=dashscope or self.dashscope,
                ledger=ledger or self.ledger,
                result_urls=result_urls or self.result_urls,
                promises=promises or self.promises,
                mask_sources=self.mask_sources,
                finisher=self.finisher,
                clock=self.clock,
                models=TABLE,
                observer=observer or self.observer,
                notify=self._warn,
                ended=self.ended.append,
                submits_end_at=lambda: submits_end_at,
                may_submit=may_submit,
                memory_of=memory_of,
                results=results,
            ),
            on_bug=self.bugs.append,
            spool=spool,
            abandon=abandon,
        )

    def _warn(self, event: str, /, **details: str | float) -> None:
        self.warnings.append((event, details))

    def request(self, prompt: str = "a red cat", **changes: Any) -> EditRequest:
        changes.setdefault("tenant", self.tenants[0])
        return a_request(self.clock, prompt=prompt, **changes)


async def complete(service: EditService, request: EditRequest) -> EditResult:
    """Come, wait, take the answer and say so."""
    async with service.attend(request) as waiter:
        answer = await waiter.answer()
        await waiter.delivered()
        return answer


async def retry_until_done(
    service: EditService, request: Callable[[int], EditRequest], clock: WarpClock, *, tries: int = 6
) -> EditResult:
    """Buy as an SDK does: again, marked, for as long as the refusal says that it may help."""
    for count in range(tries):
        try:
            return await complete(service, request(count))
        except GatewayError as refused:
            if not refused.retry or count == tries - 1:
                raise
            await clock.sleep(refused.retry_after or 0.5)
    raise AssertionError


async def error_of(work: Awaitable[object]) -> GatewayError:
    """Return the refusal that *work* ends with."""
    try:
        result = await work
    except GatewayError as refused:
        return refused
    raise AssertionError(f"not refused: {result}")


def picture_bytes(answer: EditResult) -> tuple[bytes, ...]:
    """Return the pictures of an answer; those of the fake are never still being read."""
    pictures = tuple(picture for picture in answer.pictures if isinstance(picture, bytes))
    assert len(pictures) == len(answer.pictures)
    return pictures


def narrow_harness() -> EditHarness:
    """Return a harness whose account runs one task at a time."""
    return EditHarness(a_tenant("acme", an_upstream(account=NARROW)))


@asynccontextmanager
async def slot_taken(
    harness: EditHarness, service: EditService, seconds: float = 60.0
) -> AsyncIterator[None]:
    """Let another edit hold the only slot for so long."""
    harness.dashscope.submits.append(Submit(run=Run(0.0, seconds)))
    async with asyncio.TaskGroup() as group:
        group.create_task(complete(service, harness.request("the busy one")))
        await harness.clock.sleep(0.5)
        yield


async def leave_after(service: EditService, request: EditRequest, seconds: float) -> Waiter:
    """Come, stay for so long, and hang up."""
    async with service.attend(request) as waiter:
        await asyncio.sleep(seconds)
    return waiter
