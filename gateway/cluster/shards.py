"""Which tenants and accounts belong together, and which node owns them."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.domain.tenant import Tenant, Upstream


@dataclass(frozen=True, slots=True)
class Shard:
    """
    Tenants and accounts that one node owns together.

    No account is in two shards, so whoever owns a shard alone keeps its accounts' limits.
    """

    name: str
    """That of its first account in alphabetical order."""
    region: str
    accounts: tuple[str, ...]
    """
    In alphabetical order; at least one. Each has a lease, and one node holds all of them or none,
    so that nodes whose configs group them otherwise exclude each other, too.
    """
    tenants: tuple[str, ...]
    """In alphabetical order; none if no tenant uses the accounts, which may still owe edits."""


def shards_of(tenants: Iterable[Tenant], upstreams: Iterable[Upstream] = ()) -> tuple[Shard, ...]:
    """
    Return the connected components of accounts, joined by each tenant's list of upstreams.

    A pure function of the config: every node with the same config finds the same shards, in
    the same order. A shard lies in one region, since a tenant and all of its upstreams do.

    Args:
        tenants: All of them.
        upstreams: More than the tenants use.
    """
    tenants = tuple(tenants)
    used = [upstream for tenant in tenants for upstream in tenant.upstreams]
    accounts = {upstream.account.name: upstream.account for upstream in (*used, *upstreams)}
    shard_by_account = {name: {name} for name in accounts}
    for tenant in tenants:
        joined = set[str]().union(*(shard_by_account[u.account.name] for u in tenant.upstreams))
        shard_by_account.update(dict.fromkeys(joined, joined))
    components = {min(component): component for component in shard_by_account.values()}
    return tuple(
        Shard(
            name=name,
            region=accounts[name].region,
            accounts=tuple(sorted(components[name])),
            tenants=tuple(
                sorted(t.name for t in tenants if t.upstreams[0].account.name in components[name])
            ),
        )
        for name in sorted(components)
    )
