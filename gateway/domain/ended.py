"""What an operator is told of an edit when it ends, whether or not a client waits for it (D118)."""

from dataclasses import dataclass

from gateway.domain.price import Bill


@dataclass(frozen=True, slots=True)
class EndedEdit:
    """One edit that has ended: no prompt, no picture, no URL (P13)."""

    edit_id: str
    request_ids: tuple[str, ...]
    """Of the requests that it served, the first one's first; none after a restart."""
    tenant: str
    region: str
    model: str
    outcome: str
    """``ok``, or the code of the error."""
    status: int
    """That a client gets, or would get."""
    upstreams: tuple[str, ...]
    accounts: tuple[str, ...]
    task_ids: tuple[str, ...]
    upstream_request_ids: tuple[str, ...]
    n: int
    made: int
    """Pictures."""
    size: str
    """Asked for; empty: left to the model."""
    sizes_made: tuple[str, ...]
    seed: int | None
    digest: str
    """Names the content: equal for equal content."""
    adjusted: tuple[str, ...]
    ignored: tuple[str, ...]
    phase_seconds: dict[str, float]
    """Until the end of its tasks was seen; each answer has its own rest."""
    seconds: float
    """Since it was asked for, or taken over from another process."""
    taken_over: bool
    """Whether another process began it."""
    upstream_code: str
    upstream_message: str
    bills: tuple[Bill, ...]
