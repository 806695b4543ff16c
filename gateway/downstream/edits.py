"""Edits and generations: made by POST, had again by GET, seen by HEAD, called off by DELETE."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.domain.clock import Clock, Phases
from gateway.domain.models import Operation
from gateway.domain.tenant import Tenant
from gateway.downstream.access_record import AccessRecord, record_of
from gateway.downstream.auth import Keyring
from gateway.downstream.body import ClientLeft, announced, refuse_too_large
from gateway.downstream.disconnect import DisconnectWatch
from gateway.downstream.memory_budget import MemoryBudget, Reservation
from gateway.downstream.ops import Readiness
from gateway.downstream.ports import EdgeObserver, EditService, Waiter
from gateway.downstream.reply import (
    SILENCE,
    Manner,
    Measure,
    Opening,
    Stay,
    manner_of,
    running_body,
)
from gateway.downstream.request_reader import RequestReader, retry_count
from gateway.downstream.responses import edit_headers, request_headers
from gateway.edits.request import EditRequest, EditStatus

_BEATS_PER_PATIENCE = 3  # nobody who waits shorter than a beat shall be lost between two
_PLACES = {Operation.EDIT: "/v1/images/edits", Operation.GENERATE: "/v1/images/generations"}
_ENDED = frozenset({"succeeded", "failed"})


@dataclass(frozen=True, slots=True)
class Edits:
    """One of the two paths; an edit that was made at one can be had at the other."""

    keyring: Keyring
    readiness: Readiness
    reception: RequestReader
    service: EditService
    budget: MemoryBudget
    measure: Measure
    heartbeat_seconds: float
    clock: Clock
    observer: EdgeObserver

    async def post(self, request: Request) -> ASGIApp:
        """Begin an edit, or join the one that this request repeats."""
        tenant = self._admit(request)
        line = record_of(request.scope)
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

    async def head(self, request: Request) -> ASGIApp:
        """Tell of a known edit what GET would, without its pictures: nothing is delivered."""
        tenant = self._admit(request)
        line = record_of(request.scope)
        line.phases = Phases(started=line.started)
        known = self.service.collect(
            tenant,
            request.path_params["edit_id"],
            patience=self.reception.patience_of(request, tenant),
            phases=line.phases,
        )
        async with known as waiter:
            line.told = waiter.told
            if waiter.told.status == "failed":
                await waiter.answer()
            return self._status(waiter.told)

    async def delete(self, request: Request) -> ASGIApp:
        """Call an edit off as far as that costs nothing."""
        tenant = self._admit(request)
        told = await self.service.withdraw(tenant, request.path_params["edit_id"])
        record_of(request.scope).told = told
        return self._status(told)

    def _admit(self, request: Request) -> Tenant:
        tenant = self.keyring.tenant_of(request.headers)
        record_of(request.scope).tenant = tenant.name
        return tenant

    async def _make(
        self, request: Request, tenant: Tenant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        with self.budget.reserve(tenant.name, announced(request.headers)) as reservation:
            async with (
                self._read(request, tenant, reservation) as (edit_request, client),
                self.service.attend(edit_request) as waiter,
            ):
                # The edit has the bytes now, and lets them go once its task exists.
                reservation.handed_over = True
                edit_request.pictures = ()
                manner = manner_of(edit_request.edit.output, tenant, self._does)
                if edit_request.promise:
                    record_of(scope).told = waiter.told
                    accepted = self._status(waiter.told, asynchronous=True)
                    await accepted(scope, receive, send)
                    return
                opening = self._opening(manner, edit_request, waiter, client, send)
                await self._stay(opening, record_of(scope), edit_request.phases).answer()

    @asynccontextmanager
    async def _read(
        self, request: Request, tenant: Tenant, reservation: Reservation
    ) -> AsyncIterator[tuple[EditRequest, DisconnectWatch]]:
        """Read what is asked; one whose client has left by then never comes to the service."""
        with self._counting_who_leaves():
            received = await self.reception.receive(request, tenant, reservation)
        async with DisconnectWatch(request.receive) as client:
            with self._counting_who_leaves():
                edit_request = await client.unless_left(partial(self.reception.read, received))
                del received  # the edit has what it needs of the bytes
                await asyncio.sleep(0)  # lets the watch see one that left in the last moment
                if client.left:
                    raise ClientLeft
            yield edit_request, client

    @contextmanager
    def _counting_who_leaves(self) -> Iterator[None]:
        try:
            yield
        except ClientLeft:
            self.observer.client_disconnected("reading")
            raise

    async def _look_up(
        self, request: Request, tenant: Tenant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        line = record_of(scope)
        line.phases = phases = Phases(started=line.started)
        known = self.service.collect(
            tenant,
            request.path_params["edit_id"],
            patience=self.reception.patience_of(request, tenant),
            phases=phases,
        )
        async with DisconnectWatch(receive) as client, known as waiter:
            if waiter.told.status not in _ENDED:
                line.told = waiter.told
                await self._status(waiter.told)(scope, receive, send)
                return
            opening = Opening(SILENCE, {}, waiter, client, send, every=0.0, longest=0.0)
            await self._stay(opening, line, phases).answer()

    def _opening(
        self,
        manner: Manner,
        edit_request: EditRequest,
        waiter: Waiter,
        client: DisconnectWatch,
        send: Send,
    ) -> Opening:
        return Opening(
            manner,
            request_headers(edit_request.edit.ignored, edit_request.edit.adjusted),
            waiter,
            client,
            send,
            every=min(self.heartbeat_seconds, edit_request.patience / _BEATS_PER_PATIENCE),
            longest=self.reception.max_wait_seconds,
        )

    def _stay(self, opening: Opening, line: AccessRecord, phases: Phases) -> Stay:
        return Stay(opening, line, phases, self.measure, self.clock, self.observer)

    @property
    def _does(self) -> Operation:
        return self.reception.catalog.operation

    def _status(self, told: EditStatus, *, asynchronous: bool = False) -> Response:
        headers = edit_headers(told)
        if asynchronous:
            headers["preference-applied"] = "respond-async"
            headers["location"] = f"{_PLACES[self._does]}/{told.edit_id}"
        return Response(
            running_body(told, self._does),
            status_code=200 if told.status in _ENDED and not asynchronous else 202,
            headers=headers,
            media_type="application/json",
        )
