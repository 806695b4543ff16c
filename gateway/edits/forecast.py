"""How long a client has probably to wait: told in ``retry-after`` when its patience ends."""

from collections.abc import Iterable

from gateway.domain.clock import Clock
from gateway.domain.tenant import Tenant
from gateway.edits.account import AccountState
from gateway.edits.active_edit import ActiveEdit, Stage
from gateway.edits.fair_queue import Ticket
from gateway.polling.schedule import remaining


class Forecast:
    """Looks at the accounts; changes nothing."""

    def __init__(self, accounts: dict[tuple[str, str], AccountState], clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock

    def remaining(self, active: ActiveEdit) -> float:
        """Return the seconds until *edit* probably ends."""
        accounts = [run.upstream for run in active.runs if run.upstream]
        key = (accounts[0].region.name, accounts[0].account.name) if accounts else None
        if active.stage is Stage.WAITING or key is None:
            places = [run.ticket for run in active.runs if run.ticket and run.ticket.queued]
            return expected_wait(self._accounts, active.tenant, places)
        since = [run.runs_since for run in active.runs if run.runs_since is not None]
        age = max((self._clock.now() - at for at in since), default=0.0)
        known = self._accounts[key].durations.known(active.kind)
        # The last try of an SDK (its third) should rather find the picture than be early.
        return remaining(known, age, 0.5 if active.retry_count < 1 else 0.95)


def expected_wait(
    accounts: dict[tuple[str, str], AccountState], tenant: Tenant, places: Iterable[Ticket]
) -> float:
    """Return the seconds until all of *places* had their turn; with none, of one who comes now."""
    own = [accounts[u.region.name, u.account.name] for u in tenant.upstreams]
    by_line = {account.queue: account for account in own}
    waits = [by_line[ticket.queue].expected_wait(tenant, ticket) for ticket in places]
    return max(waits) if waits else min(account.expected_wait(tenant) for account in own)
