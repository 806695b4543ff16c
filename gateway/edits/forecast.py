"""How long a client has probably to wait: told in ``retry-after`` when its patience ends."""

from collections.abc import Iterable

from gateway.domain.clock import Clock
from gateway.domain.tenant import Tenant
from gateway.edits.account import Accounts
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.fair_queue import Ticket
from gateway.edits.lifecycle import Stage
from gateway.polling.schedule import remaining


class Forecast:
    """Looks at the accounts; changes nothing."""

    def __init__(self, accounts: Accounts, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock

    def remaining(self, active: ActiveEdit) -> float:
        """Return the seconds until *edit* probably ends."""
        upstreams = [part.upstream for part in active.life.parts if part.upstream]
        if active.life.stage is Stage.WAITING or not upstreams:
            places = [run.ticket for run in active.runs if run.ticket and run.ticket.queued]
            return expected_wait(self._accounts, active.tenant, places)
        since = [run.running_since for run in active.runs if run.running_since is not None]
        age = max((self._clock.now() - at for at in since), default=0.0)
        known = self._accounts[upstreams[0].account].durations.known(active.kind)
        # The last try of an SDK (its third) should rather find the picture than be early.
        return remaining(known, age, 0.5 if active.life.retry_count < 1 else 0.95)


def expected_wait(accounts: Accounts, tenant: Tenant, places: Iterable[Ticket]) -> float:
    """Return the seconds until all of *places* had their turn; with none, of one who comes now."""
    own = [accounts[upstream.account] for upstream in tenant.upstreams]
    by_line = {account.queue: account for account in own}
    waits = [by_line[ticket.queue].expected_wait(tenant, ticket) for ticket in places]
    return max(waits) if waits else min(account.expected_wait(tenant) for account in own)
