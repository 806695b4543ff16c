"""The edit and generation endpoints: POST creates, GET returns, HEAD reports, DELETE cancels."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.domain.clock import Clock, Phases
from gateway.domain.models import Operation
from gateway.domain.price import Prices
from gateway.domain.tenant import Tenant
from gateway.downstream.access_record import record_of
from gateway.downstream.auth import Keyring
from gateway.downstream.body import announced, refuse_too_large
from gateway.downstream.disconnect import ClientLeft, DisconnectWatch
from gateway.downstream.memory_budget import MemoryBudget
from gateway.downstream.ops import Readiness
from gateway.downstream.ports import EdgeObserver, EditAccess
from gateway.downstream.reply import JsonReply, Measure, UrlOf, reply_form
from gateway.downstream.request_reader import RequestReader, retry_count
from gateway.downstream.responses import edit_headers, request_headers
from gateway.downstream.result_files import ResultLinks
from gateway.edits.request import EditStatus
from gateway.translate.openai_fields import wanted_format
from gateway.translate.openai_response import running_answer

_HEARTBEATS_PER_WAIT = 3  # a client that waits shorter than usual still gets a few heartbeats
_PATHS = {Operation.EDIT: "/v1/images/edits", Operation.GENERATE: "/v1/images/generations"}
_ENDED = frozenset({"succeeded", "failed"})

OnCreated = Callable[[str, bytes], None]
"""Called with the id of an edit and its first picture, once the edit has begun or was joined."""


@dataclass(frozen=True, slots=True)
class Edits:
    """The endpoints of one path; an edit that was created at one can be fetched at the other."""

    keyring: Keyring
    readiness: Readiness
    reader: RequestReader
    service: EditAccess
    budget: MemoryBudget
    measure: Measure
    heartbeat_seconds: float
    clock: Clock
    observer: EdgeObserver
    prices: Prices = field(default_factory=dict)
    """By which x-wan-cost is computed; empty: there is no such header."""
    on_created: OnCreated | None = None
    links: ResultLinks | None = None
    """To the pictures that are kept here; ``None``: none are."""

    async def post(self, request: Request) -> ASGIApp:
        """Create an edit, or join the one that this request repeats."""
        tenant = self.keyring.authenticate(request)
        record = record_of(request.scope)
        record.retry_count = retry_count(request.headers)
        if record.retry_count:
            self.observer.client_retry(record.retry_count)
        else:
            # A marked retry may join an edit that is still running here, even now (D55).
            self.readiness.refuse_while_draining()
        refuse_too_large(announced(request.headers), self.reader.limits)
        return partial(self._create, request, tenant)

    async def _create(
        self, request: Request, tenant: Tenant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        record = record_of(scope)
        operation = self.reader.operation
        with self.budget.reserve(tenant.name, announced(request.headers)) as reservation:
            with self._count_disconnect():
                received = await self.reader.receive(request, tenant, reservation)
            async with DisconnectWatch(receive) as client:
                with self._count_disconnect():
                    edit_request = await client.unless_left(partial(self.reader.read, received))
                    del received  # the edit has what it needs of the bytes
                    await asyncio.sleep(0)  # lets the watch see a disconnect of the last moment
                    if client.left:
                        raise ClientLeft
                # Taken before the edit begins, which drops its pictures once its task exists.
                first = b""
                if self.on_created is not None and edit_request.pictures:
                    first = edit_request.pictures[0].content
                async with self.service.attend(edit_request) as waiter:
                    reservation.handed_over = True
                    edit_request.pictures = ()
                    if self.on_created is not None:
                        self.on_created(waiter.status.edit_id, first)
                    del first
                    edit = edit_request.edit
                    if edit_request.promise:
                        record.edit = waiter.status
                        response = self._status(waiter.status, accepted=True)
                        await response(scope, receive, send)
                        return
                    reply = reply_form(edit.output, tenant)(
                        waiter=waiter,
                        client=client,
                        send=send,
                        record=record,
                        phases=edit_request.phases,
                        operation=operation,
                        measure=self.measure,
                        clock=self.clock,
                        observer=self.observer,
                        prices=self.prices,
                        url_of=self._url_of(request),
                        request_headers=request_headers(edit.ignored, edit.adjusted),
                        heartbeat_seconds=min(
                            self.heartbeat_seconds, edit_request.patience / _HEARTBEATS_PER_WAIT
                        ),
                        max_wait_seconds=self.reader.max_wait_seconds,
                    )
                    await reply.run()

    @contextmanager
    def _count_disconnect(self) -> Iterator[None]:
        try:
            yield
        except ClientLeft:
            self.observer.client_disconnected("reading")
            raise

    async def get(self, request: Request) -> ASGIApp:
        """Return the result of a known edit; while it has not ended, its status with a 202."""
        return partial(self._get, request, self.keyring.authenticate(request))

    async def _get(
        self, request: Request, tenant: Tenant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        record = record_of(scope)
        record.phases = phases = Phases(started=record.started)
        found = self.service.collect(
            tenant,
            request.path_params["edit_id"],
            patience=self.reader.patience_of(request, tenant),
            phases=phases,
            response_format=wanted_format(request.query_params.get("response_format", "")),
        )
        async with DisconnectWatch(receive) as client, found as waiter:
            if waiter.status.stage not in _ENDED:
                record.edit = waiter.status
                await self._status(waiter.status)(scope, receive, send)
                return
            reply = JsonReply(
                waiter=waiter,
                client=client,
                send=send,
                record=record,
                phases=phases,
                operation=self.reader.operation,
                measure=self.measure,
                clock=self.clock,
                observer=self.observer,
                prices=self.prices,
                url_of=self._url_of(request),
            )
            await reply.run()

    async def head(self, request: Request) -> ASGIApp:
        """Report what GET would, without the pictures: nothing is delivered."""
        tenant = self.keyring.authenticate(request)
        record = record_of(request.scope)
        record.phases = Phases(started=record.started)
        found = self.service.collect(
            tenant,
            request.path_params["edit_id"],
            patience=self.reader.patience_of(request, tenant),
            phases=record.phases,
        )
        async with found as waiter:
            record.edit = waiter.status
            if waiter.status.stage == "failed":
                await waiter.answer()
            return self._status(waiter.status)

    async def delete(self, request: Request) -> ASGIApp:
        """Cancel an edit as far as that costs nothing; a running task goes on."""
        tenant = self.keyring.authenticate(request)
        status = await self.service.withdraw(tenant, request.path_params["edit_id"])
        record_of(request.scope).edit = status
        return self._status(status)

    def _url_of(self, request: Request) -> UrlOf | None:
        return None if self.links is None else self.links.url_of(request)

    def _status(self, status: EditStatus, *, accepted: bool = False) -> Response:
        """Return the status of an edit as JSON; *accepted*: in reply to ``respond-async``."""
        operation = self.reader.operation
        headers = edit_headers(status)
        if accepted:
            headers["preference-applied"] = "respond-async"
            headers["location"] = f"{_PATHS[operation]}/{status.edit_id}"
        return Response(
            running_answer(status.edit_id, operation, status=status.stage, created=status.created),
            status_code=200 if status.stage in _ENDED and not accepted else 202,
            headers=headers,
            media_type="application/json",
        )
