"""What the door in hands to gateway.edits, and what it gets back."""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.domain.clock import Phases
from gateway.domain.edit import Edit, MaskSource, OutputOptions, Picture
from gateway.domain.price import Bill
from gateway.domain.tenant import Tenant


def new_edit_id() -> str:
    """Return a name that no other edit has and nobody guesses."""
    return "edit_" + secrets.token_hex(16)


@dataclass(slots=True)
class EditRequest:
    """One client's call, read, authenticated and checked."""

    tenant: Tenant
    edit: Edit
    pictures: tuple[Picture, ...] = field(repr=False)
    digest: str
    """Of fields and pictures in order: equal for equal content (gateway.edits.digest)."""
    earlier_digests: frozenset[str] = field(kw_only=True, default=frozenset())
    """What earlier versions made of the same content, as far as that is known."""
    patience: float
    """Seconds from now on that this client waits (gateway.edits.patience)."""
    phases: Phases
    request_id: str = ""
    """As the access log has it."""
    retry_count: int = 0
    """``x-stainless-retry-count``: 1 or more marks a blind repeat by an SDK."""
    idempotency_key: str | None = None
    promise: bool = False
    """Its client does not wait but gets a 202: the edit outlives this process from then on."""
    mask_source: MaskSource | None = field(default=None, repr=False)
    """Of a masked edit: what its result is laid into."""
    edit_id: str = ""
    """What the edit is called if it begins with this request; empty: a new name is made."""
    repeats: bool = False
    """Whether *edit_id* may have begun already, at a node that owned the tenant before."""
    waited: float = 0.0
    """Seconds for which it has waited at the node that its client is connected to."""
    parent_trace: object = None
    """The client's own trace, as a Tracer reads it."""
    release: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called once when the bytes are let go: when the task exists, or they were not needed."""
    keep_only: Callable[[int], None] = field(default=lambda _: None, repr=False)
    """Called with how many bytes stay in memory when the pictures lie on the disk."""


class ShardMoved(Exception):
    """
    Another node owns the tenant's edits from now on, and goes on with this one.

    No answer tells of it: the front door sends the request there (gateway.cluster).
    """


@dataclass(frozen=True, slots=True)
class EditStatus:
    """What is known of an edit for the headers, whether it ended well, ill or not yet."""

    edit_id: str
    region: str
    task_ids: tuple[str, ...] = ()
    upstream_request_ids: tuple[str, ...] = ()
    stage: str = "waiting"
    """waiting, submitting, running, succeeded, failed: for 202 answers."""
    created: int = 0
    """Seconds since the epoch."""
    trace_id: str = ""
    """Of the edit's trace; empty where there is none."""
    accounts: tuple[str, ...] = ()
    """That it was submitted to."""


class IncomingPicture(Protocol):
    """A picture that is still on its way home: read once, while the answer goes out."""

    length: int
    """Bytes."""
    head: bytes
    """The first bytes: enough for format and size."""

    def chunks(self) -> AsyncIterator[bytes]:
        """
        Yield the picture.

        Raises:
            ResultUnavailable: it cannot be had to its end.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class KeptResult:
    """A picture that the gateway keeps itself, to be fetched by a signed URL."""

    name: str
    """Of gateway.results.names."""
    expires: int
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class EditResult:
    """An edit that ended well: at least one picture."""

    status: EditStatus
    form: OutputOptions
    pictures: tuple[bytes | IncomingPicture, ...] = field(repr=False)
    """In order; empty when URLs are asked for. The waiter closes them."""
    urls: tuple[str, ...] = field(repr=False)
    """DashScope's own."""
    requested: int
    prompts: tuple[str, ...] = field(default=(), repr=False)
    """What each picture that was made was made by, where DashScope rewrote the prompt."""
    model: str = ""
    """DashScope's name."""
    bills: tuple[Bill, ...] = ()
    """Of each task that made pictures, delivered or not."""
    ignored: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    replayed: bool = False
    """Whether an ``Idempotency-Key`` brought back an edit that was delivered before."""
    kept: tuple[KeptResult, ...] = ()
    """In order, when URLs are asked for and ``[results]`` is on."""

    @property
    def revised_prompts(self) -> tuple[str, ...]:
        """*prompts* for the pictures that there are; empty where that is not known."""
        return self.prompts if len(self.prompts) == self.delivered else ()

    @property
    def delivered(self) -> int:
        return len(self.pictures) or len(self.urls) or len(self.kept)
