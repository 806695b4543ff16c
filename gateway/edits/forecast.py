"""How long an edit probably still takes, for the ``retry-after`` of a client that timed out."""

from collections.abc import Iterable

from gateway.domain.clock import Clock
from gateway.domain.tenant import Tenant
from gateway.edits.account import Accounts
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.fair_queue import Ticket
from gateway.edits.lifecycle import Stage
from gateway.polling.schedule import remaining


class Forecast:
    """Estimates from the accounts' queues and durations; changes nothing."""

    def __init__(self, accounts: Accounts, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock

    def remaining(self, active: ActiveEdit) -> float:
        """Return the seconds until an edit probably ends."""
        upstreams = [part.upstream for part in active.life.parts if part.upstream]
        if active.life.stage is Stage.WAITING or not upstreams:
            tickets = [run.ticket for run in active.runs if run.ticket and run.ticket.queued]
            return expected_wait(self._accounts, active.tenant, tickets)
        since = [run.running_since for run in active.runs if run.running_since is not None]
        age = max((self._clock.now() - at for at in since), default=0.0)
        known = self._accounts[upstreams[0].account].durations.known(active.kind)
        # The last try of an SDK (its third) should rather find the picture than be early.
        return remaining(known, age, 0.5 if active.life.retry_count < 1 else 0.95)


def expected_wait(accounts: Accounts, tenant: Tenant, tickets: Iterable[Ticket]) -> float:
    """Return the seconds until all of *tickets*, or a new one if there are none, have a slot."""
    own = [accounts[upstream.account] for upstream in tenant.upstreams]
    by_queue = {account.queue: account for account in own}
    waits = [by_queue[ticket.queue].expected_wait(tenant, ticket) for ticket in tickets]
    return max(waits) if waits else min(account.expected_wait(tenant) for account in own)
