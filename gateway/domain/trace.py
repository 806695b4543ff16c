"""
What an edit's trace is told on its way. Nobody writes these; gateway.observe.traces writes its own.

Objects that do nothing rather than protocols: no place on the way of an edit asks whether it
is traced, and one that is not pays some empty calls. Nothing here may raise.
"""

from collections.abc import Mapping
from typing import Self

from gateway.domain.edit import Edit
from gateway.domain.errors import GatewayError
from gateway.domain.tenant import Tenant, Upstream


class Trace:
    """One edit, or one client's stay at it. The parts of an edit go side by side."""

    id = ""
    """W3C's trace id, 32 hex digits; empty where nothing is written."""

    def queued(self, part: int) -> None: ...
    def submitting(self, part: int, upstream: Upstream) -> None: ...
    def uncertain(self, part: int) -> None:
        """The submit broke off; from here on it is looked for in the task list."""

    def undone(self, part: int, error: GatewayError | None) -> None:
        """The submit surely made no task."""

    def accepted(self, part: int, upstream: Upstream, task_id: str, request_id: str) -> None: ...
    def polled(self, part: int, said: str) -> None:
        """One fetch came back: a task's status, or the code of what went wrong."""

    def task_ended(
        self, part: int, outcome: str, made: int, polls: int, error: GatewayError | None
    ) -> None:
        """Outcomes: those of Observer.task_ended; *made* is how many pictures it made."""

    def ended(self, error: GatewayError | None) -> None:
        """The edit has ended, whoever waits for it."""

    def downloading(self) -> None: ...
    def answering(self) -> None: ...
    def delivered(self) -> None:
        """The last byte of the answer is the socket's."""

    def refused(self, error: GatewayError) -> None:
        """The client was refused; the edit may go on."""

    def left(self) -> None:
        """The client is no longer connected, served or not."""


UNTRACED = Trace()


class Tracer:
    """Begins traces. Use as an async context manager, which ends when all are written."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    def parent_trace(self, headers: Mapping[str, str]) -> object:
        """Return the client's own trace, by W3C's headers, for begin() and join()."""

    def begin(
        self, edit_id: str, tenant: Tenant, edit: Edit, *, parent_trace: object, since: float | None
    ) -> Trace:
        """
        Begin the trace of an edit, which ends with it and with its first client's leaving.

        Args:
            edit_id: Ours.
            tenant: Whose.
            edit: What is asked.
            parent_trace: What parent_trace() returned.
            since: Monotonic: when its client's request arrived; ``None``: it has none, for
                it was begun by a process that is no more.
        """
        return UNTRACED

    def join(self, joined: Trace, edit_id: str, tenant: Tenant, *, parent_trace: object) -> Trace:
        """Begin the trace of a client who joins an edit, whose trace is *joined*."""
        return UNTRACED


NO_TRACER = Tracer()
