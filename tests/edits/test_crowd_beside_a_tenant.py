"""A tenant beside a crowd, by the simulation of ``python -m benchmarks.fairness`` (P8, D18)."""

from functools import partial

from benchmarks.fairness import FairnessSimulation, Source, TrafficMix, Waits
from benchmarks.simulation import warped
from gateway.domain.tenant import Account, Region, Tenant, Upstream

_SECONDS = 750.0
_LONGEST = 90.0  # of the simulated tasks
_BETWEEN = 52.5


def _tenant(name: str, max_waiting: int) -> Tenant:
    account = Account("acct", "beijing")
    upstream = Upstream("main", Region("beijing", "https://beijing.test", ()), account, key="")
    return Tenant(name, "beijing", (upstream,), max_waiting=max_waiting)


def test_a_tenant_beside_a_crowd_waits_for_one_slot() -> None:
    """A hundred times as many edits of another tenant delay an edit by one task at most."""
    ours = Source(_tenant("A", 20), _BETWEEN, steady=True)
    crowd = Source(_tenant("B", 20), _BETWEEN / 100)
    mix = TrafficMix("B sends 100 x as much", ours, (crowd,))
    waits: dict[str, Waits] = warped(partial(FairnessSimulation().play, mix, _SECONDS))

    assert len(waits["A"].queue) >= 10
    assert max(waits["A"].queue) <= _LONGEST
    assert len(waits["B"].queue) >= 30
    assert waits["B"].refused > 500
