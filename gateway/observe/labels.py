"""
Every label's values are a closed set: what is not in it is counted under one name.

Nothing that a client types becomes a label, nor an id, a key or free text.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.domain.phases import Phase
from gateway.domain.record import EditState
from gateway.domain.tenant import Tenant, Upstream

UNKNOWN = "_unknown"
"""A tenant that is not configured, such as nobody's key."""
OTHER = "_other"
"""A value that no set holds."""

ROUTES = (
    "/v1/images/edits",
    "/v1/images/edits/{edit_id}",
    "/v1/images/generations",
    "/v1/images/generations/{edit_id}",
    "/v1/images/variations",
    "/v1/models",
    "/v1/models/{id}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/dashboard",
    "/dashboard/events",
)
METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
CODES = tuple(str(code) for code in range(100, 600))
CODE_CLASSES = ("2xx", "3xx", "4xx", "5xx")
DISCONNECT_PHASES = ("reading", "queued", "submitting", "polling", "downloading", "writing")
ATTEMPTS = ("1", "2", "3+")
REJECTIONS = ("tenant_limit", "deadline", "bytes", "draining")
TASK_STATES = ("submitting", "pending", "running", "downloading")
OUTCOMES = ("succeeded", "partial", "failed", "canceled", "timed_out", "lost")
PHASES = tuple(phase.value for phase in Phase)
OPERATIONS = ("submit", "poll", "list", "cancel", "download", "upload")
RETRY_REASONS = ("network", "status", "content")
DISPOSITIONS = ("delivered", "undelivered", "failed")
RETRIED = ("download", "upload")
"""Operations that are tried again; the others are told to gateway.edits, or asked for again."""
THROTTLED = ("submit", "poll", "list", "cancel")
UNDELIVERED = ("result_unavailable", "expired")
RECOVERED = ("task_followed", "submit_resolved", "submit_void")
DUPLICATES = ("retry_joined", "in_flight_joined", "key_replayed", "ambiguous_found")
IDEMPOTENCY = ("new", "joined", "replayed", "conflict")
JOURNAL_STATES = tuple(state.value for state in EditState if state is not EditState.DROPPED)
COMMON_CODES = ("200", "400", "429", "500", "503")
"""Of edits, which alerts and dashboards count from the first one on; other codes are too many."""


@dataclass(frozen=True, slots=True)
class Price:
    """What upstream charges for one picture; only pictures that were made are billed."""

    amount: float
    currency: str
    """ISO 4217: ``CNY``, ``USD``."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The names that the config gives: they bound the series."""

    tenants: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    upstreams: tuple[tuple[str, str], ...] = ()
    """Region and name of each."""
    accounts: tuple[str, ...] = ()
    prices: dict[tuple[str, str], Price] = field(default_factory=dict)
    """By region and model; without one no cost is estimated."""
    homes: dict[str, str] = field(default_factory=dict, compare=False)
    """The region of each tenant; of one that is not in here, any."""


def configured(
    tenants: Iterable[Tenant],
    models: Iterable[str],
    prices: dict[tuple[str, str], Price] | None = None,
    upstreams: Iterable[Upstream] = (),
) -> Configured:
    """Read the names off the nouns of the config."""
    tenants = tuple(tenants)
    upstreams = {*upstreams, *(upstream for tenant in tenants for upstream in tenant.upstreams)}
    regions = {tenant.region for tenant in tenants} | {up.region.name for up in upstreams}
    return Configured(
        tenants=tuple(sorted(tenant.name for tenant in tenants)),
        homes={tenant.name: tenant.region for tenant in tenants},
        regions=tuple(sorted(regions)),
        models=tuple(models),
        upstreams=tuple(sorted((upstream.region.name, upstream.name) for upstream in upstreams)),
        accounts=tuple(sorted({upstream.account.name for upstream in upstreams})),
        prices=prices or {},
    )


def code_class(code: int) -> str:
    return f"{code // 100}xx"


def attempt(count: int) -> str:
    return str(count) if count < 3 else "3+"
