"""The image edits: made by POST, had again by GET, called off by DELETE."""

from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.domain.clock import Clock
from gateway.domain.phases import Phase, Phases
from gateway.domain.tenant import Tenant
from gateway.downstream.body import CustomerLeft, announced, refuse_too_large
from gateway.downstream.bytes_budget import Bytes
from gateway.downstream.customer import Customer
from gateway.downstream.delivery import Measure, delivery_of, running_body
from gateway.downstream.edit_headers import edit_headers, server_timing
from gateway.downstream.keys import Keyring
from gateway.downstream.ports import Desk, EdgeObserver, Visit
from gateway.downstream.readiness import Readiness
from gateway.downstream.reception import Reception, retry_count
from gateway.downstream.request_line import RequestLine, line_of
from gateway.journey.ask import Answer, Told

_PLACE_BY_STATUS = {"waiting": "queued", "submitting": "submitting", "succeeded": "downloading"}
_ENDED = frozenset({"succeeded", "failed"})


@dataclass(frozen=True, slots=True)
class Edits:
    keyring: Keyring
    readiness: Readiness
    reception: Reception
    desk: Desk
    budget: Bytes
    measure: Measure
    clock: Clock
    observer: EdgeObserver

    async def post(self, request: Request) -> ASGIApp:
        """Begin an edit, or join the one that this request repeats."""
        tenant = self._admit(request)
        line = line_of(request.scope)
        line.retry_count = retry_count(request.headers)
        if line.retry_count:
            self.observer.client_retry(line.retry_count)
        else:
            # A marked retry may join an edit that still runs here, even now.
            self.readiness.refuse_while_draining()
        refuse_too_large(announced(request.headers), self.reception.limits)
        return partial(self._make, request, tenant)

    async def get(self, request: Request) -> ASGIApp:
        """Answer a known edit once it has ended; until then, say how far it is."""
        return partial(self._look_up, request, self._admit(request))

    async def delete(self, request: Request) -> ASGIApp:
        """Call an edit off as far as that costs nothing."""
        tenant = self._admit(request)
        told = await self.desk.withdraw(tenant, request.path_params["edit_id"])
        line_of(request.scope).told = told
        return _status(told)

    def _admit(self, request: Request) -> Tenant:
        tenant = self.keyring.tenant_of(request.headers)
        line_of(request.scope).tenant = tenant.name
        return tenant

    async def _make(
        self, request: Request, tenant: Tenant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        with self.budget.reserve(announced(request.headers)) as share:
            try:
                ask = await self.reception.ask_of(request, tenant, share)
            except CustomerLeft:
                self.observer.client_disconnected("reading")
                raise
            async with Customer(receive) as customer, self.desk.attend(ask) as visit:
                # The edit has the bytes now, and lets them go once its task exists.
                share.handed_over, ask.pictures = True, ()
                if _prefers_async(request):
                    visit.detach()
                    line_of(scope).told = visit.told
                    await _status(visit.told, asynchronous=True)(scope, receive, send)
                    return
                stay = _Stay(self, line_of(scope), ask.phases, customer, visit)
                await stay.answer(send)

    async def _look_up(
        self, request: Request, tenant: Tenant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        line = line_of(scope)
        line.phases = phases = Phases(started=line.started)
        known = self.desk.collect(
            tenant,
            request.path_params["edit_id"],
            patience=self.reception.patience_of(request, tenant),
            phases=phases,
        )
        async with Customer(receive) as customer, known as visit:
            if visit.told.status not in _ENDED:
                line.told = visit.told
                await _status(visit.told)(scope, receive, send)
                return
            await _Stay(self, line, phases, customer, visit).answer(send)


@dataclass(frozen=True, slots=True)
class _Stay:
    """One connected customer at one edit."""

    edits: Edits
    line: RequestLine
    phases: Phases
    customer: Customer
    visit: Visit

    async def answer(self, send: Send) -> None:
        """
        Wait for the edit and send it.

        Raises:
            GatewayError: it ended badly, or not in time.
            CustomerLeft: nobody is there any more.
        """
        try:
            answer = await self.customer.unless_left(self.visit.answer)
            await self._deliver(answer, send)
        except CustomerLeft:
            self.edits.observer.client_disconnected(self._place())
            raise
        finally:
            self.line.told = self.visit.told

    async def _deliver(self, answer: Answer, send: Send) -> None:
        clock = self.edits.clock
        answered = clock.now()
        self.phases.enter(Phase.RESPOND, answered)
        created = answer.told.created or int(clock.epoch())
        delivery = delivery_of(answer, created, self.edits.measure)
        now = clock.now()
        delivery.headers["server-timing"] = server_timing(self.phases.spent(now))
        self.line.overhead += now - answered
        self.edits.observer.gateway_overhead(self.line.route, self.line.overhead)
        await delivery.begin(send, self.customer)
        await self.visit.delivered()
        await delivery.end(send)

    def _place(self) -> str:
        if self.phases.phase is Phase.RESPOND:
            return "writing"
        return _PLACE_BY_STATUS.get(self.visit.told.status, "polling")


def _status(told: Told, *, asynchronous: bool = False) -> Response:
    headers = edit_headers(told)
    if asynchronous:
        headers["preference-applied"] = "respond-async"
        headers["location"] = f"/v1/images/edits/{told.edit_id}"
    return Response(
        running_body(told),
        status_code=200 if told.status in _ENDED and not asynchronous else 202,
        headers=headers,
        media_type="application/json",
    )


def _prefers_async(request: Request) -> bool:
    wishes = request.headers.get("prefer", "").lower().split(",")
    return any(wish.partition(";")[0].strip() == "respond-async" for wish in wishes)
