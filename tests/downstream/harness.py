"""The edge with fakes behind it: a service with a script, a recorder, a clock set by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import httpx
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.domain.clock import Phase, Phases
from gateway.domain.edit import MaskSource, OutputOptions, Picture, ResponseFormat, Size
from gateway.domain.errors import NotFound
from gateway.domain.models import Catalog, Inputs, Operation
from gateway.domain.price import Price
from gateway.domain.tenant import Tenant
from gateway.downstream.access_log import AccessLogMiddleware
from gateway.downstream.access_record import AccessRecord, record_of
from gateway.downstream.auth import Keyring
from gateway.downstream.body import BodyLimits
from gateway.downstream.cors import Cors
from gateway.downstream.edits import Edits
from gateway.downstream.memory_budget import MemoryBudget
from gateway.downstream.ops import Ops, Readiness
from gateway.downstream.pacer import Pacer
from gateway.downstream.request_reader import RequestReader
from gateway.downstream.responses import exception_handlers
from gateway.downstream.result_files import ResultFiles, ResultLinks
from gateway.downstream.routes import Models, routes
from gateway.edits.request import EditRequest, EditResult, EditStatus
from gateway.edits.service import EditService
from gateway.imaging.slots import SlotClaim
from gateway.imaging.workers import Imaging
from gateway.results.folder import FolderStore
from gateway.results.keeper import ResultKeeper
from gateway.results.names import owner_of
from gateway.results.signatures import ResultSigner
from tests.models import EDITOR, PAINTER

KEY = "sk-canary-0123456789"
ACME = Tenant(name="acme", region="beijing", upstreams=())
MODELS = dict.fromkeys(("wan2.5-i2i-preview", "gpt-image-1"), EDITOR)
PAINTERS = dict.fromkeys(("wan2.5-t2i-preview", "gpt-image-1"), PAINTER)
EDITS = Catalog(Operation.EDIT, MODELS, "gpt-image-1", PAINTERS)
GENERATIONS = Catalog(Operation.GENERATE, PAINTERS, "gpt-image-1", MODELS)
RUNNING_STATUS = EditStatus(
    edit_id="edit_1",
    region="beijing",
    task_ids=("task-1", "task-2"),
    upstream_request_ids=("up-1",),
    stage="running",
    created=1_700_000_000,
)
SIGNER = ResultSigner("canary-" + "s" * 40)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
FORM = {"prompt": "a hat", "model": "gpt-image-1"}
FILES = {"image": ("cat.png", PNG, "image/png")}


def answer(**changes: Any) -> EditResult:
    whole: dict[str, Any] = {
        "status": RUNNING_STATUS,
        "form": OutputOptions(),
        "pictures": (b"one",),
        "urls": (),
        "requested": 1,
    }
    return EditResult(**{**whole, **changes})


@dataclass
class FakeClock:
    """Moves only when told to."""

    time: float = 100.0

    def now(self) -> float:
        return self.time

    def epoch(self) -> float:
        return 1_700_000_500.0 + self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class FakeWaiter:
    """Ends as its script says, and records what was done with it."""

    ends: Callable[[], Awaitable[EditResult]]
    status: EditStatus = RUNNING_STATUS
    was_delivered: bool = False
    cancelled: bool = False
    extended: float = 0.0

    def spent(self) -> dict[Phase, float]:
        return {Phase.READ: 0.25, Phase.QUEUE: 1.5}

    def extend(self, patience: float) -> None:
        self.extended = patience

    async def answer(self) -> EditResult:
        try:
            return await self.ends()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def delivered(self) -> None:
        self.was_delivered = True


async def succeeds() -> EditResult:
    return answer()


@dataclass
class FakeEditService:
    """Hands out *waiter* and records the requests."""

    waiter: FakeWaiter = field(default_factory=lambda: FakeWaiter(succeeds))
    edit_requests: list[EditRequest] = field(default_factory=list)
    pictures: list[tuple[Picture, ...]] = field(default_factory=list)
    refusal: Exception | None = None
    left: int = 0
    wanted: list[ResponseFormat | None] = field(default_factory=list)
    """What each GET asked for."""
    keeps: bool = False
    """Whether the bytes are still needed after the visit, as by a detached edit in the queue."""

    @asynccontextmanager
    async def attend(self, edit_request: EditRequest) -> AsyncIterator[FakeWaiter]:
        if self.refusal is not None:
            raise self.refusal
        self.edit_requests.append(edit_request)
        self.pictures.append(edit_request.pictures)
        edit_request.phases.enter(Phase.QUEUE, edit_request.phases.started + 0.25)
        try:
            yield self.waiter
        finally:
            self.left += 1
            if not self.keeps:
                edit_request.release()

    @asynccontextmanager
    async def collect(
        self,
        tenant: Tenant,
        edit_id: str,
        *,
        patience: float,
        phases: Phases,
        response_format: ResponseFormat | None = None,
    ) -> AsyncIterator[FakeWaiter]:
        self._find(tenant, edit_id)
        self.wanted.append(response_format)
        yield self.waiter

    async def withdraw(self, tenant: Tenant, edit_id: str) -> EditStatus:
        self._find(tenant, edit_id)
        return self.waiter.status

    def _find(self, tenant: Tenant, edit_id: str) -> None:
        if (tenant.name, edit_id) != ("acme", self.waiter.status.edit_id):
            raise NotFound("There is no such edit.")


@dataclass
class Recorder:
    """The observer and the access log, as lists of their calls."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    lines: list[AccessRecord] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    inflight: int = 0

    def http_request_started(self, route: str) -> None:
        self.events.append(("started", route))

    def http_request_ended(self, *what: Any) -> None:
        self.events.append(("ended", *what))

    def http_late_error(self, code: int, tenant: str) -> None:
        self.events.append(("late error", code, tenant))

    def client_disconnected(self, phase: str) -> None:
        self.events.append(("disconnected", phase))

    def client_retry(self, attempt: int) -> None:
        self.events.append(("retry", attempt))

    def queue_rejected(self, tenant: str, reason: str) -> None:
        self.rejected.append((tenant, reason))

    def client_patience(self, seconds: float) -> None:
        self.events.append(("patience", seconds))

    def gateway_overhead(self, route: str, seconds: float) -> None:
        self.events.append(("overhead", route, seconds))

    def inflight_bytes(self, change: int) -> None:
        self.inflight += change

    def results_changed(self, action: str, n: int = 1) -> None:
        self.events.append(("results", action, n))

    def result_written(self, size: int) -> None:
        self.events.append(("written", size))

    def results_stored(self, n: int, size: int) -> None:
        self.events.append(("stored", n, size))

    def result_store_failed(self, operation: str) -> None:
        self.events.append(("store failed", operation))

    def store_failed(self, operation: str, _: Exception) -> None:
        self.result_store_failed(operation)

    def write(self, record: AccessRecord) -> None:
        self.lines.append(record)

    def of(self, what: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.events if entry[0] == what]


async def passes(pictures: Sequence[Picture], tenant: Tenant) -> tuple[Picture, ...]:
    """Take every picture as it is."""
    return tuple(it if it.url else replace(it, media_type="image/png") for it in pictures)


async def lies_on(kept: MaskSource) -> Size:
    """Take every mask, and tell what nobody asks."""
    return Size(1024, 1024)


def limits_of(**changes: float) -> BodyLimits:
    """Return generous limits of a body, but for *changes*."""
    limits = {"max_body_bytes": 160 * 2**20, "body_seconds": 300.0, "idle_body_seconds": 30.0}
    return BodyLimits(**{**limits, **changes})  # type: ignore[arg-type]  # by name


@dataclass
class EdgeHarness:
    """The edge of one gateway, with fakes behind it."""

    tenant: Tenant = ACME
    edits: Catalog = EDITS
    generations: Catalog = GENERATIONS
    limits: BodyLimits = field(default_factory=limits_of)
    most_bytes: int = 2**24
    measure: Callable[[bytes], Size | None] = lambda _: None
    open_tenant: Tenant | None = None
    heartbeat_seconds: float = 5.0
    origins: tuple[str, ...] = ()
    prices: Mapping[tuple[str, str], Price] = field(default_factory=dict)
    linger_seconds: float = 5.0
    stall_seconds: float = 120.0
    on_created: Callable[[str, bytes], None] | None = None
    imaging: Imaging | None = None
    """The real one, where pictures are to be decoded."""
    kept_in: Path | None = None
    """The folder of kept pictures, whose URLs are signed with SIGNER."""
    public_url: str = "https://pictures.test"

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.seen = Recorder()
        self.service = FakeEditService()
        self.pacer = Pacer(self.clock)
        self.readiness = Readiness()
        self.budget = MemoryBudget(self.most_bytes, self.seen.inflight_bytes)
        self.check = passes
        self.check_mask = lies_on
        self.clear: set[bytes] = set()
        """Pictures that are fully transparent somewhere."""
        self.claims: list[tuple[str, float]] = []
        """Whose each request for a thread was, and how long the edit may wait in all."""
        self.registry = CollectorRegistry()
        self.keeper = self._keeper()
        catalogs = {Operation.EDIT: self.edits, Operation.GENERATE: self.generations}
        keyring = Keyring(
            {"acme": replace(self.tenant, catalogs=catalogs)},
            {sha256(KEY.encode()).digest(): "acme"},
            self.open_tenant and replace(self.open_tenant, catalogs=catalogs),
        )
        edits, generations = (self._edits(keyring, operation) for operation in Operation)
        pages = routes(
            edits,
            generations,
            Models(keyring),
            Ops(self.readiness, self.registry),
            self.seen,
            results=self._result_files(keyring),
        )
        log = Middleware(
            AccessLogMiddleware, clock=self.clock, observer=self.seen, log=self.seen.write
        )
        cors = [Middleware(Cors, origins=self.origins)] if self.origins else []
        self.app = Starlette(
            routes=pages,
            middleware=[*cors, log],
            exception_handlers=exception_handlers(self.linger_seconds),
        )
        self.app.router.redirect_slashes = False

    def _keeper(self) -> ResultKeeper | None:
        if self.kept_in is None:
            return None
        store = FolderStore(
            self.kept_in, durable=False, clock=self.clock, on_failure=self.seen.store_failed
        )
        return ResultKeeper(store, keep_seconds=86_400, clock=self.clock, observer=self.seen)

    def _result_files(self, keyring: Keyring) -> ResultFiles | None:
        if self.keeper is None:
            return None
        owners = {owner_of("acme"): "acme"}
        return ResultFiles(
            self.keeper, SIGNER, keyring, self.clock, owners, stall_seconds=self.stall_seconds
        )

    def _edits(self, keyring: Keyring, operation: Operation) -> Edits:
        reader = RequestReader(
            imaging=self.imaging or FakeImaging(self),
            pacer=self.pacer,
            limits=self.limits,
            operation=operation,
            max_wait_seconds=540.0,
            clock=self.clock,
            observer=self.seen,
            keeps=self.keeper is not None,
        )
        return Edits(
            keyring=keyring,
            readiness=self.readiness,
            reader=reader,
            service=cast("EditService", self.service),
            budget=self.budget,
            measure=self.measure,
            heartbeat_seconds=self.heartbeat_seconds,
            prices=self.prices,
            on_created=self.on_created,
            clock=self.clock,
            observer=self.seen,
            links=ResultLinks(SIGNER, self.public_url) if self.keeper else None,
        )

    def client(self, key: str | None = KEY) -> httpx.AsyncClient:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)


class FakeImaging(Imaging):
    """Does what its harness says, and notes the claim of each call."""

    def __init__(self, harness: "EdgeHarness") -> None:
        self._harness = harness

    async def check(
        self,
        pictures: Sequence[Picture],
        tenant: Tenant,
        inputs: Inputs,
        claim: SlotClaim | None = None,
    ) -> tuple[Picture, ...]:
        assert claim is not None
        assert len(pictures) <= inputs.most
        self._note(claim)
        return await self._harness.check(pictures, tenant)

    async def check_mask(self, kept: MaskSource, claim: SlotClaim) -> Size:
        self._note(claim)
        return await self._harness.check_mask(kept)

    async def lay_over(self, original: bytes, markup: bytes, claim: SlotClaim) -> bytes:
        self._note(claim)
        return original + b" under " + markup

    async def has_clear_parts(self, content: bytes, claim: SlotClaim) -> bool:
        self._note(claim)
        return content in self._harness.clear

    def _note(self, claim: SlotClaim) -> None:
        assert claim.until is not None
        self._harness.claims.append((claim.tenant, claim.until - claim.since))


class Marks:
    """Middleware that says of each request what another node said of it."""

    def __init__(self, app: ASGIApp, /, **marks: object) -> None:
        self._app = app
        self._marks = marks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in self._marks.items():
            setattr(record_of(scope), name, value)
        await self._app(scope, receive, send)


class FakeConnection:
    """A connection by hand: *script* is received, what is sent is kept."""

    def __init__(self, *script: Message) -> None:
        self.script = list(script)
        self.sent: list[Message] = []
        self.hang_up = asyncio.Event()
        self.on_send: Callable[[Message], None] = lambda message: None
        self.waits = False
        """Whether a send waits for the socket, as it does with a slow client."""

    async def receive(self) -> Message:
        if self.script:
            return self.script.pop(0)
        await self.hang_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.on_send(message)
        if self.waits:
            await asyncio.sleep(0)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


def request_of(
    request: httpx.Request, *, pieces: Sequence[bytes] | None = None
) -> tuple[dict[str, Any], list[Message]]:
    """Return the scope and the messages of *request*; with *pieces*, only those of its body."""
    scope = {
        "type": "http",
        "method": request.method,
        "path": request.url.path,
        "raw_path": request.url.raw_path,
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }
    parts = [request.read()] if pieces is None else list(pieces)
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": nth < len(parts)}
        for nth, part in enumerate(parts, 1)
    ]
    return scope, messages
