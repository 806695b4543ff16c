"""What the door in asks of the world around it; the app hands in who answers."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from starlette.routing import Route

from gateway.domain.clock import Phase, Phases
from gateway.domain.tenant import Tenant
from gateway.downstream.access_record import AccessRecord
from gateway.edits.request import EditRequest, EditResult, EditStatus


class Waiter(Protocol):
    """One client at one edit, for the length of a block."""

    @property
    def told(self) -> EditStatus: ...

    async def answer(self) -> EditResult:
        """
        Wait for the edit's end, at most until the client's deadline.

        Raises:
            GatewayError: the edit ended badly, or has not ended yet.
        """
        ...

    def spent(self) -> Mapping[Phase, float]:
        """Return how many seconds of this request went into which phase, up to now."""
        ...

    def extend(self, patience: float) -> None:
        """Let the client wait *patience* seconds since it came, since it hears of us now."""
        ...

    async def delivered(self) -> None:
        """Say that the last byte of the answer was handed to the socket."""
        ...


class EditService(Protocol):
    """Where edits are handed in; gateway.edits.service answers it."""

    def attend(self, edit_request: EditRequest) -> AbstractAsyncContextManager[Waiter]:
        """
        Begin an edit or join one; leaving without delivered() is the client's leaving.

        Raises:
            GatewayError: it is refused, or it is to be answered by 202 and cannot be kept.
        """
        ...

    def collect(
        self, tenant: Tenant, edit_id: str, *, patience: float, phases: Phases
    ) -> AbstractAsyncContextManager[Waiter]:
        """
        Look at a known edit; coming and leaving change nothing about it.

        Raises:
            NotFound: the tenant has no such edit.
        """
        ...

    async def withdraw(self, tenant: Tenant, edit_id: str) -> EditStatus:
        """
        Cancel what can be cancelled at no cost, and tell what became of it.

        Raises:
            NotFound: the tenant has no such edit.
        """
        ...


class EdgeObserver(Protocol):
    """Who counts at the edge; gateway.observe.metrics answers it. Nothing here may raise."""

    def http_request_started(self, route: str) -> None: ...

    def http_request_ended(
        self,
        route: str,
        method: str,
        code: int,
        tenant: str,
        seconds: float,
        body_in: int,
        body_out: int,
    ) -> None:
        """
        Count one request; each started one ends once.

        Args:
            route: A template of routes.py, ``_other`` for an unknown path.
            method: One of HTTP's own; ``_OTHER`` for any that is not.
            code: The status; 499 where the client left before there was one.
            tenant: Its name; ``_unknown`` where no key told.
            seconds: From the head's arrival to the last byte out.
            body_in: Bytes read.
            body_out: Bytes written.
        """
        ...

    def http_late_error(self, code: int, tenant: str) -> None:
        """Count an error that came after a 200 had begun, by the status it would have had."""
        ...

    def client_disconnected(self, phase: str) -> None:
        """Phases: reading, queued, submitting, polling, downloading, writing."""
        ...

    def client_retry(self, attempt: int) -> None: ...
    def client_patience(self, seconds: float) -> None: ...

    def gateway_overhead(self, route: str, seconds: float) -> None:
        """From the body's last byte to the service, and from the answer to the first byte out."""
        ...

    def queue_rejected(self, tenant: str, reason: str) -> None:
        """Reasons: deadline, bytes, draining; gateway.edits tells of tenant_limit."""
        ...

    def inflight_bytes(self, change: int) -> None: ...


class AccessLog(Protocol):
    """Who writes; gateway.observe.logs answers it. Nothing here may raise."""

    def log_line(self, record: AccessRecord) -> None: ...


class Dashboard(Protocol):
    """The live page, where it is on; gateway.downstream.dashboard answers it."""

    @property
    def log(self) -> AccessLog:
        """To be told of every request in place of the log itself."""
        ...

    @property
    def service(self) -> EditService:
        """For the door in, in place of the service itself."""
        ...

    @property
    def works(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside, as long as the process serves."""
        ...

    def routes(self, observer: EdgeObserver) -> list[Route]: ...

    def close(self) -> None:
        """End every stream: the process stops."""
        ...
