"""Calls to DashScope: what they may take, and how they are counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from gateway.domain.clock import Clock
from gateway.domain.intent import BODY_SECONDS


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What a call may take. Times are seconds from its first to its last byte."""

    call: float = 15.0
    """A fetch, list or cancel."""
    submit: float = BODY_SECONDS + 60.0
    submit_and_wait: float = BODY_SECONDS + 300.0
    """A submit to a model without tasks, which is answered when the pictures are made."""
    upload: float = 60.0
    """One picture, its policy included."""
    download: float = 60.0
    """Waiting for storage in all, whatever breaks in between."""
    bytes_per_second: float = 64 * 1024
    """So many bytes extend a download by one second."""
    picture_bytes: int = 64 * 2**20
    """Of a result, far above any of DashScope's; bounds the memory that a wrong URL takes."""


CALL_LIMITS = CallLimits()


class UpstreamCalls(Protocol):
    """Counts calls; gateway.observe.metrics implements it. Must not raise."""

    def upstream_call(self, region: str, operation: str, code: str, seconds: float) -> None:
        """
        Count one call.

        Args:
            region: The region's name.
            operation: submit, poll, list, cancel, download or upload.
            code: The HTTP status, or ``error`` when no whole answer came back.
            seconds: From the call to the end of its answer.
        """
        ...

    def upstream_retried(self, region: str, operation: str, reason: str) -> None:
        """
        Count one retry; reasons: network, status, content.

        An upload that is given up counts as well: its picture is sent inline.
        """
        ...


@dataclass(slots=True)
class CountedCall:
    """One call that is being counted; set *code* once it is answered."""

    began: float
    code: str = "error"


@contextmanager
def counted_call(
    calls: UpstreamCalls, clock: Clock, region: str, operation: str
) -> Iterator[CountedCall]:
    """Count the call that the block makes, also if it raises; see UpstreamCalls.upstream_call."""
    call = CountedCall(clock.now())
    try:
        yield call
    finally:
        calls.upstream_call(region, operation, call.code, clock.now() - call.began)
