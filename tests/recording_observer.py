"""An observer that remembers every call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.clock import Phase
from gateway.domain.errors import GatewayError
from gateway.domain.price import Bill


@dataclass(slots=True)
class RecordingObserver:
    """Answers gateway.edits.ports.Observer; remembers every call."""

    seen: list[tuple[Any, ...]] = field(default_factory=list)

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of each call of *name*."""
        return [call[1:] for call in self.seen if call[0] == name]

    @property
    def in_line(self) -> int:
        return sum(change for _, _, change in self.of("queued"))

    @property
    def states(self) -> dict[str, int]:
        """The task gauges that are not zero."""
        gauges: dict[str, int] = {}
        for _, leaves, enters in self.of("task_state"):
            for state, change in ((leaves, -1), (enters, 1)):
                if state is not None:
                    gauges[state] = gauges.get(state, 0) + change
        return {state: value for state, value in gauges.items() if value}

    def edit_begun(self, tenant: str, region: str, model: str) -> None:
        self.seen.append(("edit_begun", tenant, region, model))

    def queued(self, region: str, tenant: str, change: int) -> None:
        self.seen.append(("queued", region, tenant, change))

    def queue_waited(self, region: str, seconds: float) -> None:
        self.seen.append(("queue_waited", region, seconds))

    def queue_rejected(self, tenant: str, reason: str) -> None:
        self.seen.append(("queue_rejected", tenant, reason))

    def task_state(self, region: str, leaves: str | None, enters: str | None) -> None:
        self.seen.append(("task_state", region, leaves, enters))

    def task_ended(
        self, tenant: str, region: str, model: str, outcome: str, seconds: float
    ) -> None:
        self.seen.append(("task_ended", tenant, region, model, outcome, seconds))

    def task_failed(self, region: str, model: str, error: GatewayError) -> None:
        self.seen.append(("task_failed", region, model, error))

    def phases_spent(self, region: str, model: str, spent: Mapping[Phase, float]) -> None:
        self.seen.append(("phases_spent", region, model, dict(spent)))

    def end_detected(self, region: str, model: str, lag: float) -> None:
        self.seen.append(("end_detected", region, model, lag))

    def polls_spent(self, region: str, polls: int) -> None:
        self.seen.append(("polls_spent", region, polls))

    def poll_budget_used(self, account: str, ratio: float) -> None:
        self.seen.append(("poll_budget_used", account, ratio))

    def upstream_throttled(self, region: str, operation: str) -> None:
        self.seen.append(("upstream_throttled", region, operation))

    def upstream_key(self, region: str, upstream: str, *, up: bool) -> None:
        self.seen.append(("upstream_key", region, upstream, up))

    def pictures(self, tenant: str, region: str, model: str, disposition: str, n: int) -> None:
        self.seen.append(("pictures", tenant, region, model, disposition, n))

    def task_billed(self, tenant: str, region: str, model: str, bill: Bill) -> None:
        self.seen.append(("task_billed", tenant, region, model, bill))

    def intent_expired(self, region: str) -> None:
        self.seen.append(("intent_expired", region))

    def stray_task(self, region: str) -> None:
        self.seen.append(("stray_task", region))

    def undelivered(self, reason: str) -> None:
        self.seen.append(("undelivered", reason))

    def recovered(self, how: str) -> None:
        self.seen.append(("recovered", how))

    def duplicate_prevented(self, how: str) -> None:
        self.seen.append(("duplicate_prevented", how))

    def idempotency(self, result: str) -> None:
        self.seen.append(("idempotency", result))
