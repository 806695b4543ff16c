"""One API call: its caller, the fault that hits it, and the handler around every operation."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.sandbox.faults import Action, Operation
from gateway.sandbox.injection import respond_with_fault
from gateway.sandbox.limits import Caller, Kind
from gateway.sandbox.models import per_minute
from gateway.sandbox.region import SimulatedRegion
from gateway.sandbox.responses import Refusal, refuse
from gateway.sandbox.tasks import SandboxTask

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request to one operation of a region."""

    region: SimulatedRegion
    on: Operation
    request: Request
    request_id: str

    def caller(self, kind: Kind) -> Caller:
        """
        Return the caller, once the call has been counted against the account's rate.

        Raises:
            Refusal: 401 or 429.
        """
        caller = self.authenticated()
        self.region.rates.count(caller.account, kind, self.region.now())
        return caller

    def authenticated(self) -> Caller:
        """
        Return the caller.

        Raises:
            Refusal: 401.
        """
        return self.region.api_keys.authenticate(self.request.headers.get("authorization"))

    def count_submit(self, caller: Caller, model: str) -> None:
        """
        Count a submit against the rate of its account and model.

        Raises:
            Refusal: 429.
        """
        region = self.region
        rate = per_minute(model, region.config.region)
        region.rates.count(caller.account, "submit", region.now(), model, rate)

    def task(self, caller: Caller) -> SandboxTask | None:
        """Return the task that the path names, if *caller* may see it."""
        return self.region.find(self.request.path_params["task_id"], caller.account)

    def fault(self, *, prompt: str = "", number: int | None = None) -> Action | None:
        """Return the action of the first scripted fault that hits this call, and count it."""
        action = self.region.faults.action_for(self.on, prompt=prompt, task=number)
        if action is not None:
            self.region.counts[f"{self.on}.faulted"] += 1
        return action

    def fault_for_task(self, task: SandboxTask | None) -> Action | None:
        """Do the same as `fault`, for a call about *task*."""
        if task is None:
            return self.fault()
        return self.fault(prompt=task.request.prompt, number=task.number)

    async def respond(
        self, action: Action | None, work: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Do *work* and return its response, as *action* changes it."""
        return await respond_with_fault(
            action, work, on=self.on, clock=self.region.clock, request_id=self.request_id
        )


def handler(
    region: SimulatedRegion, on: Operation, operate: Callable[[ApiCall], Awaitable[Response]]
) -> Endpoint:
    """Wrap *operate* as an endpoint that counts calls and turns a `Refusal` into a response."""

    async def endpoint(request: Request) -> Response:
        call = ApiCall(region, on, request, region.request_id())
        counts = region.counts
        counts[f"{on}.received"] += 1
        try:
            return await operate(call)
        except Refusal as refusal:
            counts[f"{on}.throttled" if refusal.status == 429 else f"{on}.refused"] += 1
            return refuse(call.request_id, refusal)
        except ClientDisconnect:
            counts[f"{on}.left"] += 1
            return Response(status_code=400)

    return endpoint
