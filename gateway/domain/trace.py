"""
No-op trace interface; gateway.observe.traces subclasses it when tracing is on.

Classes rather than protocols, so that no code asks whether an edit is traced: one that is not
costs some empty calls. No method may raise.
"""

from collections.abc import Mapping
from typing import Self

from gateway.domain.edit import Edit
from gateway.domain.errors import GatewayError
from gateway.domain.tenant import Tenant, Upstream


class Trace:
    """The trace of one edit, or of one client that joined it. Parts run side by side."""

    id = ""
    """W3C trace id, 32 hex digits; empty if there is no trace."""

    def queued(self, part: int) -> None: ...
    def submitting(self, part: int, upstream: Upstream) -> None: ...
    def uncertain(self, part: int) -> None:
        """The submit's response was lost; it is now looked up in the task list."""

    def undone(self, part: int, error: GatewayError | None) -> None:
        """The submit certainly made no task."""

    def accepted(self, part: int, upstream: Upstream, task_id: str, request_id: str) -> None: ...
    def polled(self, part: int, status: str) -> None:
        """One fetch returned: the task's status, or an error code."""

    def task_ended(
        self, part: int, outcome: str, made: int, polls: int, error: GatewayError | None
    ) -> None:
        """Outcomes: those of Observer.task_ended; *made* is how many pictures it made."""

    def ended(self, error: GatewayError | None) -> None:
        """The edit has ended; clients may still wait for its response."""

    def downloading(self) -> None: ...
    def answering(self) -> None: ...
    def delivered(self) -> None:
        """The last byte of the response was handed to the socket."""

    def refused(self, error: GatewayError) -> None:
        """The client got an error; the edit may go on."""

    def left(self) -> None:
        """The client has disconnected, with or without a response."""


UNTRACED = Trace()


class Tracer:
    """Starts traces. Use as an async context manager; leaving it flushes them."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    def parent_trace(self, headers: Mapping[str, str]) -> object:
        """Read the client's own trace from W3C headers, for begin() and join()."""

    def begin(
        self, edit_id: str, tenant: Tenant, edit: Edit, *, parent_trace: object, since: float | None
    ) -> Trace:
        """
        Begin the trace of an edit; it ends once the edit has ended and its first client has left.

        Args:
            edit_id: Our id of the edit.
            tenant: Its tenant.
            edit: What was requested.
            parent_trace: What parent_trace() returned.
            since: Monotonic time at which the client's request arrived; ``None`` for an edit
                recovered from an earlier process, which has no client.
        """
        return UNTRACED

    def join(self, joined: Trace, edit_id: str, tenant: Tenant, *, parent_trace: object) -> Trace:
        """Begin the trace of a client that joins an edit, whose trace is *joined*."""
        return UNTRACED


NO_TRACER = Tracer()
