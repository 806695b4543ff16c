"""
The front door: every node takes every request, and passes it to the node that owns its tenant.

A request whose tenant is owned here goes to the handler as it came. Any other travels to the
owner over HTTP/1.1, under an edit id that is chosen here. If the owner is lost before a byte
of the answer went out that binds, the same request goes to the next owner under the same id,
which joins the edit or begins it: so a client whose own node lives does not notice that
another one died (D106).
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.cluster.body_buffer import BodyBuffer, BodyBuffers
from gateway.cluster.node_request import (
    MISDIRECTED,
    NodeRequest,
    headers_to_client,
    headers_to_owner,
)
from gateway.cluster.owners import Here, Nobody, Owner, Owners, Peer
from gateway.cluster.peers import PeerClient, PeerLost, chunks
from gateway.cluster.relay import AnswerRelay
from gateway.domain.clock import Clock
from gateway.domain.errors import Draining, GatewayError, StillRunning
from gateway.domain.tenant import Tenant
from gateway.downstream.access_log import NODE_OUTCOME
from gateway.downstream.access_record import AccessRecord, record_of
from gateway.downstream.auth import Keyring
from gateway.downstream.body import BodyLimits, announced, read_body, refuse_too_large
from gateway.downstream.disconnect import ClientLeft, DisconnectWatch
from gateway.downstream.memory_budget import MemoryBudget
from gateway.downstream.ports import EdgeObserver
from gateway.downstream.reply import ReplyCut
from gateway.downstream.request_reader import retry_count
from gateway.downstream.routes import EditEndpoints, Endpoint
from gateway.edits.patience import patience
from gateway.edits.request import ShardMoved, new_edit_id

_SAME_AGAIN_SECONDS = 0.5
"""How soon an owner that could not be reached is tried again, unless there is another one."""


class _OwnerLost(Exception):
    """This owner does not answer the request, or not to its end."""


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """What all requests need that may have to be passed on."""

    node: str
    """This node's name."""
    secret: str = field(repr=False)
    """By which nodes know each other."""
    owners: Owners
    shard_by_tenant: Mapping[str, str]
    keyring: Keyring
    limits: BodyLimits
    budget: MemoryBudget
    buffers: BodyBuffers
    peers: PeerClient
    max_wait_seconds: float
    heartbeat_seconds: float
    clock: Clock
    observer: EdgeObserver
    _exchanges: "set[_Exchange]" = field(default_factory=set, repr=False)
    """That other nodes answer, or none yet."""

    @property
    def busy(self) -> int:
        """How many clients wait for an answer of another node."""
        return len(self._exchanges)

    def turn_away(self) -> None:
        """End the wait of these clients with an error that says how to get the result (D55)."""
        for exchange in list(self._exchanges):
            exchange.turn_away()

    @contextmanager
    def away(self, exchange: "_Exchange") -> Iterator[None]:
        """Count *exchange* for the length of the block."""
        self._exchanges.add(exchange)
        try:
            yield
        finally:
            self._exchanges.discard(exchange)

    def guard(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint that answers as *endpoint* does at the owner of the tenant."""
        return partial(self._answer, endpoint)

    def guard_all(self, edits: EditEndpoints) -> "GuardedEdits":
        """Guard each endpoint of *edits*."""
        methods = (edits.post, edits.get, edits.head, edits.delete)
        return GuardedEdits(*map(self.guard, methods))

    async def _answer(self, endpoint: Endpoint, request: Request) -> ASGIApp:
        tenant = self.keyring.tenant_of(request.headers)
        shard = self.shard_by_tenant[tenant.name]
        record = record_of(request.scope)
        if record.via:
            return await self._as_owner(endpoint, request, shard)
        record.tenant = tenant.name
        if request.method == "POST":
            refuse_too_large(announced(request.headers), self.limits)
            record.edit_id = new_edit_id()
            record.retry_count = retry_count(request.headers)
        return partial(self._pass, endpoint, tenant, shard)

    async def _as_owner(self, endpoint: Endpoint, request: Request, shard: str) -> ASGIApp:
        """Answer what another node passed on: here, or not at all, since it goes one hop only."""
        record = record_of(request.scope)
        if not isinstance(self.owners.owner_of(shard), Here):
            return _misdirected(record)
        app = await endpoint(request)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            except ShardMoved:
                if record.status:
                    raise ReplyCut from None
                await _misdirected(record)(scope, receive, send)

        return answer

    async def _pass(
        self,
        endpoint: Endpoint,
        tenant: Tenant,
        shard: str,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        with ExitStack() as stack:
            exchange = _Exchange(
                door=self,
                endpoint=endpoint,
                tenant=tenant,
                shard=shard,
                scope=scope,
                receive=receive,
                relay=AnswerRelay(send),
                body=stack.enter_context(BodyBuffer(self.buffers)),
                stack=stack,
            )
            await exchange.answer()


def _misdirected(record: AccessRecord) -> Response:
    record.outcome = "misdirected"
    return Response(status_code=MISDIRECTED)


@dataclass(frozen=True, slots=True)
class GuardedEdits:
    """Endpoints that answer as those of an Edits do at the owner of the tenant."""

    post: Endpoint
    get: Endpoint
    head: Endpoint
    delete: Endpoint


@dataclass(slots=True, eq=False)
class _Exchange:
    """One client's request, until it is answered by one owner of its tenant or another."""

    door: FrontDoor
    endpoint: Endpoint
    tenant: Tenant
    shard: str
    scope: Scope
    receive: Receive
    relay: AnswerRelay
    body: BodyBuffer
    stack: ExitStack
    """Ends with the exchange."""
    read_at: float | None = None
    """When the body was complete, on the monotonic clock."""
    turned_away: bool = False
    """Whether this node ends before the answer has come."""
    timer: asyncio.Timeout | None = None
    """Of what is waited for."""

    def turn_away(self) -> None:
        """End the wait, unless the answer is being sent."""
        self.turned_away = True
        self.interrupt()

    def interrupt(self) -> None:
        """End what is waited for, unless the answer is being sent."""
        timer, self.timer = self.timer, None
        if timer is not None and not self.relay.begun:
            timer.reschedule(0)

    async def answer(self) -> None:
        """
        Answer, by as many owners as it takes.

        Raises:
            GatewayError: refused, or no owner was found in time, and no byte has gone out.
            ClientLeft: nobody is there any more.
            ReplyCut: the owner was lost after a byte that binds.
        """
        if not self._has_body:
            self.read_at = self.door.clock.now()
        failed: Owner = Nobody()
        while (owner := await self._owner(failed)) is not None:
            try:
                if isinstance(owner, Here):
                    await self._answer_here()
                else:
                    with self.door.away(self):
                        await self._read_body()
                        async with DisconnectWatch(self.receive) as client:
                            await client.unless_left(partial(self._answer_there, owner))
            except ClientLeft:
                if not self.relay.ended:
                    raise
                return  # the server says so of every client that has its answer
            except _OwnerLost:
                if self.relay.begun:
                    raise ReplyCut from None
                self._prepare_repeat()
                failed = owner
            else:
                return

    @property
    def _record(self) -> AccessRecord:
        return record_of(self.scope)

    @property
    def _has_body(self) -> bool:
        return bool(self.scope["method"] == "POST")

    def _prepare_repeat(self) -> None:
        record = self._record
        record.repeats = self._has_body
        record.edit_id = self.relay.edit_id or record.edit_id
        record.outcome = ""
        self.relay.restart()

    # ------------------------------------------------------------ who owns the tenant

    async def _owner(self, failed: Owner) -> Here | Peer | None:
        """
        Return the owner, once there is one, and *failed* again only after a moment.

        ``None``: there was none for as long as the client waits, and the answer says so.

        Raises:
            GatewayError: the same, where no answer has begun.
            ClientLeft: nobody is there any more.
        """
        owner = self.door.owners.owner_of(self.shard)
        if not isinstance(owner, Nobody) and owner != failed and not self.turned_away:
            return owner
        with self.door.away(self):
            await self._read_body()
            async with DisconnectWatch(self.receive) as client:
                return await client.unless_left(partial(self._next_owner, failed))

    async def _next_owner(self, failed: Owner) -> Here | Peer | None:
        door = self.door
        now = door.clock.now()
        beat_at = now + door.heartbeat_seconds
        while not self.turned_away and now < (deadline := self._deadline()):
            owner = door.owners.owner_of(self.shard)
            if not isinstance(owner, Nobody) and owner != failed:
                return owner
            pause = min(deadline, beat_at) - now
            if not isinstance(owner, Nobody):
                pause = min(pause, _SAME_AGAIN_SECONDS)
                failed = Nobody()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause) as self.timer:
                    await door.owners.changed(self.shard, owner)
            self.timer = None
            now = door.clock.now()
            if now >= beat_at:
                await self.relay.beat()
                beat_at = now + door.heartbeat_seconds
        await self._refuse()
        return None

    def _deadline(self) -> float:
        """Return until when the client waits, on the monotonic clock."""
        assert self.read_at is not None
        if self.relay.started:  # it hears of us
            return self.read_at + self.door.max_wait_seconds
        return self.read_at + patience(
            Headers(scope=self.scope),
            server_cap=self.door.max_wait_seconds,
            cut_off_seconds=self.tenant.cut_off_seconds,
        )

    async def _refuse(self) -> None:
        record = self._record
        error: GatewayError
        if record.repeats:
            error = StillRunning(
                "The gateway cannot reach this edit at the moment; nothing is lost. Send the same"
                " request again to get its picture.",
                retry_after=2.0,
            )
            error.edit_id = record.edit_id
        else:
            error = Draining(
                "No node of the gateway takes this request at the moment; nothing was submitted."
                " Send it again.",
                retry_after=2.0,
            )
        if not self.relay.started:
            raise error
        record.note_error(error)
        self.door.observer.http_late_error(error.status, self.tenant.name)
        await self.relay.refuse(error, record.request_id)

    # ------------------------------------------------------------ the request

    async def _read_body(self) -> None:
        """Read what has not come yet of the body; what came is kept."""
        if self.read_at is not None:
            return
        door = self.door
        length = announced(Headers(scope=self.scope))
        reservation = self.stack.enter_context(door.budget.reserve(self.tenant.name, length))
        try:
            await read_body(self.receive, self.body.write, door.limits, reservation)
        except ClientLeft:
            door.observer.client_disconnected("reading")
            raise
        reservation.shrink_to(self.body.in_memory)
        self.read_at = door.clock.now()

    async def _receive_and_keep(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request" and self.read_at is None:
            self.body.write(message.get("body", b""))
            if not message.get("more_body", False):
                self.read_at = self.door.clock.now()
        return message

    def _replayed(self) -> Receive:
        """Return a ``receive`` that hands out the whole body again, and then what comes."""
        pieces = self.body.pieces()
        ended = False

        async def receive() -> Message:
            nonlocal ended
            if ended:
                return await self.receive()
            piece = next(pieces, b"")
            ended = not piece
            return {"type": "http.request", "body": piece, "more_body": not ended}

        return receive

    # ------------------------------------------------------------ the answer

    async def _answer_here(self) -> None:
        record = self._record
        record.owner = ""
        receive = self.receive
        if self._has_body:
            receive = self._receive_and_keep if self.read_at is None else self._replayed()
        if self.read_at is not None:
            record.waited = self.door.clock.now() - self.read_at
        request = Request(self.scope, receive, self.relay.send)
        try:
            app = await self.endpoint(request)
            await app(self.scope, receive, self.relay.send)
        except ShardMoved:
            raise _OwnerLost from None

    async def _answer_there(self, peer: Peer) -> None:
        """
        Pass the request to *peer* and its answer to the client, until another node owns the tenant.

        Raises:
            _OwnerLost: the rest of the answer is not to be had there.
            ReplyCut: the answer cannot follow what went out.
        """
        self._record.owner = peer.node

        async def watch() -> None:
            owner: Owner = peer
            while owner == peer or isinstance(owner, Nobody):
                owner = await self.door.owners.changed(self.shard, owner)
            self.interrupt()

        group = asyncio.TaskGroup()
        await group.__aenter__()
        watching = group.create_task(watch())
        try:
            async with asyncio.timeout(None) as self.timer:
                await self._exchange_with(peer)
        except (PeerLost, TimeoutError):  # the latter: by the watch
            raise _OwnerLost from None
        finally:
            self.timer = None
            watching.cancel()
            # The group only owns the watch: what the block raises goes on as it is, in no group.
            await group.__aexit__(None, None, None)

    async def _exchange_with(self, peer: Peer) -> None:
        door = self.door
        scope = self.scope
        record = self._record
        assert self.read_at is not None
        now = door.clock.now()
        node_request = NodeRequest(
            node=door.node,
            edit_id=record.edit_id,
            repeats=record.repeats,
            age=now - record.started,
            waited=now - self.read_at,
        )
        headers = headers_to_owner(
            scope["headers"],
            node_request,
            secret=door.secret,
            request_id=record.request_id,
            length=self.body.length if self._has_body else None,
        )
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        body = self.body.pieces if self._has_body else None
        async with door.peers.request(peer, scope["method"], target, headers, body) as answer:
            if answer.status == MISDIRECTED:
                raise _OwnerLost
            record.outcome = answer.headers.get(NODE_OUTCOME.decode(), "")
            head = headers_to_client(answer.raw_headers)
            await self.relay.send(
                {"type": "http.response.start", "status": answer.status, "headers": head}
            )
            async for piece in chunks(answer):
                await self.relay.send(
                    {"type": "http.response.body", "body": piece, "more_body": True}
                )
        await self.relay.send({"type": "http.response.body", "body": b"", "more_body": False})
