"""How a client is answered: in silence until its edit has ended, or kept awake meanwhile."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from gateway.domain.edit import OutputOptions
from gateway.domain.errors import GatewayError
from gateway.domain.models import Does
from gateway.domain.tenant import KeepAlive, Tenant
from gateway.downstream.delivery import Delivery, Measure, events_of, json_of
from gateway.edits.request import EditResult
from gateway.translate.openai_error import error_body
from gateway.translate.openai_stream import HEARTBEAT, comments, error_event

# Nginx would hold the beats back until its buffer is full.
_UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(frozen=True, slots=True)
class Manner:
    """One way to answer. A beat is sent only once the head is, which commits the status 200."""

    headers: Mapping[str, str]
    """Of the head, whatever the edit."""
    beat: bytes
    begins_at: frozenset[str]
    """The statuses of an edit at which the head may go out before the edit has ended."""
    deliver: Callable[[EditResult, int, Measure], Delivery]
    error: Callable[[GatewayError, str], bytes]
    """What tells of a bad end after the head."""
    late: Callable[[Mapping[str, str]], bytes]
    """What tells headers that were known only after the head."""


SILENCE = Manner(
    headers=MappingProxyType({"content-type": "application/json"}),
    beat=b"",
    begins_at=frozenset(),
    deliver=json_of,
    error=error_body,
    late=lambda _: b"",
)
BLANKS = Manner(
    headers=MappingProxyType({"content-type": "application/json", **_UNBUFFERED}),
    beat=b"\n",
    begins_at=frozenset({"running", "succeeded"}),
    deliver=json_of,
    error=error_body,
    late=lambda _: b"",
)
EVENTS = Manner(
    headers=MappingProxyType({"content-type": "text/event-stream", **_UNBUFFERED}),
    beat=HEARTBEAT,
    begins_at=frozenset({"waiting", "submitting", "running", "succeeded"}),
    deliver=events_of,
    error=error_event,
    late=comments,
)
GENERATION_EVENTS = replace(EVENTS, deliver=partial(events_of, does=Does.GENERATE))


def manner_of(form: OutputOptions, tenant: Tenant, does: Does) -> Manner:
    """Return how this request is answered: as it asks itself, else as its tenant is set."""
    if form.stream:
        return EVENTS if does is Does.EDIT else GENERATION_EVENTS
    return BLANKS if tenant.keep_alive is KeepAlive.WHITESPACE else SILENCE
