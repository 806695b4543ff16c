"""How long a customer has probably to wait: told in ``retry-after`` when its patience ends."""

from collections.abc import Iterable

from gateway.domain.clock import Clock
from gateway.domain.tenant import Tenant
from gateway.journey.errand import Errand, Stage
from gateway.journey.lane import Lane
from gateway.journey.line import Place
from gateway.journey.schedule import rest


class Forecast:
    """Looks at the lanes; changes nothing."""

    def __init__(self, lanes: dict[tuple[str, str], Lane], clock: Clock) -> None:
        self._lanes = lanes
        self._clock = clock

    def rest(self, errand: Errand) -> float:
        """Return the seconds until *errand* probably ends."""
        lanes = [leg.upstream for leg in errand.legs if leg.upstream]
        key = (lanes[0].region.name, lanes[0].account.name) if lanes else None
        if errand.stage is Stage.WAITING or key is None:
            places = [leg.place for leg in errand.legs if leg.place and leg.place.queued]
            return expected_wait(self._lanes, errand.tenant, places)
        since = [leg.runs_since for leg in errand.legs if leg.runs_since is not None]
        age = max((self._clock.now() - at for at in since), default=0.0)
        known = self._lanes[key].durations.known(errand.kind)
        # The last try of an SDK (its third) should rather find the picture than be early.
        return rest(known, age, 0.5 if errand.retry_count < 1 else 0.95)


def expected_wait(
    lanes: dict[tuple[str, str], Lane], tenant: Tenant, places: Iterable[Place]
) -> float:
    """Return the seconds until all of *places* had their turn; with none, of one who comes now."""
    own = [lanes[u.region.name, u.account.name] for u in tenant.upstreams]
    by_line = {lane.line: lane for lane in own}
    waits = [by_line[place.line].expected_wait(tenant, place) for place in places]
    return max(waits) if waits else min(lane.expected_wait(tenant) for lane in own)
