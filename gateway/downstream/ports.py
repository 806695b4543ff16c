"""What the edge is given: an observer, an access log and, where it is on, the dashboard."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

from starlette.routing import Route

from gateway.domain.clock import Phases
from gateway.domain.edit import ResponseFormat
from gateway.domain.tenant import Tenant
from gateway.downstream.access_record import AccessRecord
from gateway.edits.request import EditRequest, EditStatus
from gateway.edits.waiter import Waiter


class EditAccess(Protocol):
    """The edits; gateway.edits.service implements it, and gateway.cluster for a node's shards."""

    def attend(self, request: EditRequest) -> AbstractAsyncContextManager[Waiter]: ...

    def collect(
        self,
        tenant: Tenant,
        edit_id: str,
        *,
        patience: float,
        phases: Phases,
        response_format: ResponseFormat | None = None,
    ) -> AbstractAsyncContextManager[Waiter]: ...

    async def withdraw(self, tenant: Tenant, edit_id: str) -> EditStatus: ...


class EdgeObserver(Protocol):
    """Counts at the edge; gateway.observe.metrics implements it. Nothing here may raise."""

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
            code: The status; 499 where the client disconnected before there was one.
            tenant: Its name; ``_unknown`` where no key was known.
            seconds: From the head's arrival to the last byte out.
            body_in: Bytes read.
            body_out: Bytes written.
        """
        ...

    def http_late_error(self, code: int, tenant: str) -> None:
        """Count an error that came after a 200 was sent, by the status that it would have had."""
        ...

    def client_disconnected(self, phase: str) -> None:
        """Phases: reading, queued, submitting, polling, downloading, writing."""
        ...

    def client_retry(self, attempt: int) -> None: ...
    def client_patience(self, seconds: float) -> None: ...

    def gateway_overhead(self, route: str, seconds: float) -> None:
        """Count our own seconds: last byte in to the service, and result to first byte out."""
        ...

    def queue_rejected(self, tenant: str, reason: str) -> None:
        """Reasons: deadline, bytes, draining; gateway.edits counts tenant_limit."""
        ...

    def inflight_bytes(self, change: int) -> None: ...


AccessLog = Callable[[AccessRecord], None]
"""Writes the line of one request. It must not raise."""


class DashboardHooks(Protocol):
    """What the app needs of gateway.downstream.dashboard, imported only where it is on."""

    @property
    def write_record(self) -> AccessLog:
        """To be called in place of the app's own access log, which it calls."""
        ...

    @property
    def on_created(self) -> Callable[[str, bytes], None] | None:
        """Called with the id of each edit and its first picture; see gateway.downstream.edits."""
        ...

    @property
    def background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs in tasks of its own as long as the process serves."""
        ...

    def routes(self, observer: EdgeObserver) -> list[Route]: ...

    def of_config(self, token: str | None, config: str) -> Self:
        """Return the same dashboard for another token and text of the config."""
        ...

    def end_streams(self) -> None:
        """End every stream, so that its viewer has to show the token that is in force."""
        ...

    def close(self) -> None:
        """End every stream: the process stops."""
        ...
