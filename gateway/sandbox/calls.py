"""x"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.sandbox.faults import Action, Operation
from gateway.sandbox.injection import play
from gateway.sandbox.limits import Caller, Kind
from gateway.sandbox.region import Region
from gateway.sandbox.responses import Refusal, refuse
from gateway.sandbox.tasks import Task

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one operation of a region."""

    region: Region
    on: Operation
    request: Request
    request_id: str

    def caller(self, kind: Kind) -> Caller:
        """
        Recognise who calls, within the account's limit of that kind.

        Raises:
            Refusal: 401 or 429.
        """
        caller = self.region.callers.recognise(self.request.headers.get("authorization"))
        self.region.rates.count(caller.account, kind, self.region.now())
        return caller

    def task(self, caller: Caller) -> Task | None:
        """Find the task that the path names, if *caller* may see it."""
        return self.region.find(self.request.path_params["task_id"], caller.account)

    def fault(self, *, prompt: str = "", number: int | None = None) -> Action | None:
        """Tell which scripted fault hits this call, counting it."""
        action = self.region.faults.hit(self.on, prompt=prompt, task=number)
        if action is not None:
            self.region.books.counts[f"{self.on}.faulted"] += 1
        return action

    def fault_about(self, task: Task | None) -> Action | None:
        """Do the same for a call about *task*."""
        if task is None:
            return self.fault()
        return self.fault(prompt=task.order.prompt, number=task.number)

    async def play(
        self, action: Action | None, work: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Do *work* and answer, or what *action* makes of that."""
        return await play(
            action, work, on=self.on, clock=self.region.clock, request_id=self.request_id
        )


def door(region: Region, on: Operation, answer: Callable[[Call], Awaitable[Response]]) -> Endpoint:
    """Make *answer* an endpoint that counts, and answers its refusals in the region's shape."""

    async def endpoint(request: Request) -> Response:
        call = Call(region, on, request, region.request_id())
        counts = region.books.counts
        counts[f"{on}.received"] += 1
        try:
            return await answer(call)
        except Refusal as refusal:
            counts[f"{on}.throttled" if refusal.status == 429 else f"{on}.refused"] += 1
            return refuse(call.request_id, refusal)
        except ClientDisconnect:
            counts[f"{on}.left"] += 1
            return Response(status_code=400)

    return endpoint
