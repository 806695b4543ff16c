from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.shards import Shard, shards_of
from gateway.domain.tenant import Account, Region, Tenant, Upstream


def _upstream(account: str, region: str = "beijing") -> Upstream:
    where = Region(region, f"https://{region}.example/api/v1", ())
    return Upstream(f"{account}-key", where, Account(account, region), "sk")


def _tenant(name: str, *accounts: str, region: str = "beijing") -> Tenant:
    return Tenant(name, region, tuple(_upstream(account, region) for account in accounts))


def test_tenants_of_one_account_are_one_shard() -> None:
    """Whoever shares an account shares the node that keeps its limits."""
    assert shards_of([_tenant("b", "main"), _tenant("a", "main")]) == (
        Shard("main", "beijing", ("main",), ("a", "b")),
    )


def test_tenants_of_accounts_of_their_own_are_shards_of_their_own() -> None:
    """They may be owned by two nodes; the order is that of the names."""
    shards = shards_of([_tenant("b", "two"), _tenant("a", "one")])

    assert [(shard.name, shard.tenants) for shard in shards] == [("one", ("a",)), ("two", ("b",))]


def test_a_tenant_joins_all_of_its_accounts() -> None:
    """A chain of tenants is one shard, however late the tenant comes that closes it."""
    shards = shards_of([_tenant("a", "1", "2"), _tenant("b", "3", "4"), _tenant("c", "2", "3")])

    assert shards == (Shard("1", "beijing", ("1", "2", "3", "4"), ("a", "b", "c")),)


def test_regions_are_never_joined() -> None:
    """A shard lies in one region."""
    shards = shards_of(
        [_tenant("a", "bj"), _tenant("b", "sg", region="singapore")],
        [_upstream("bj"), _upstream("sg", "singapore")],
    )

    assert [(shard.region, shard.accounts) for shard in shards] == [
        ("beijing", ("bj",)),
        ("singapore", ("sg",)),
    ]


def test_an_account_that_no_tenant_uses_is_a_shard() -> None:
    """The ledger may hold edits that were submitted to it before."""
    shards = shards_of([_tenant("a", "main")], [_upstream("main"), _upstream("former")])

    assert shards[0] == Shard("former", "beijing", ("former",), ())


_LISTS = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3, unique=True))


@given(lists=_LISTS, order=st.randoms(use_true_random=False))
def test_shards_divide_the_config(lists: Sequence[list[str]], order: object) -> None:
    """Each account and each tenant is in one shard, whatever the order of the config."""
    tenants = [_tenant(f"t{number}", *accounts) for number, accounts in enumerate(lists)]
    shards = shards_of(tenants)

    accounts = [account for shard in shards for account in shard.accounts]
    assert sorted(accounts) == sorted({account for accounts in lists for account in accounts})
    names = [name for shard in shards for name in shard.tenants]
    assert sorted(names) == sorted(tenant.name for tenant in tenants)
    by_tenant = {name: shard for shard in shards for name in shard.tenants}
    for tenant in tenants:
        assert {u.account.name for u in tenant.upstreams} <= set(by_tenant[tenant.name].accounts)
    order.shuffle(tenants)  # type: ignore[attr-defined]  # a random.Random
    assert shards_of(tenants) == shards
