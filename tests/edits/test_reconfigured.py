"""Accounts and queues that go by another config: what stays the same, and what is forgotten."""

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.errors import LedgerUnavailable, UpstreamUnavailable
from gateway.domain.models import ModelLimits
from gateway.domain.record import KEPT_SECONDS
from gateway.domain.tenant import Upstream
from gateway.edits.account import Accounts, AccountsChangedError
from gateway.edits.fair_queue import Capacity, FairQueue
from tests.edits.accounts import FAR, ONE, TWO, account_state, accounts_of
from tests.edits.harness import EditHarness, complete
from tests.fakes import Run, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio

RENEWED = replace(ONE, key="renewed")
WIDE = an_account(running_tasks=50, by_model={"wan": ModelLimits(3.0, 2)})


def take(accounts: Accounts, *upstreams: Upstream) -> int:
    """Take *upstreams*; return how many accounts are new."""
    return len(accounts.plan(upstreams, {})())


@pytest.mark.parametrize(
    "upstream",
    [
        pytest.param(ONE, id="the same"),
        pytest.param(replace(ONE, name="other"), id="another name"),
        pytest.param(RENEWED, id="another key"),
        pytest.param(replace(ONE, account=WIDE), id="other limits"),
        pytest.param(replace(ONE, account=an_account("other")), id="an account of another name"),
    ],
)
async def test_an_account_stays_the_same(upstream: Upstream) -> None:
    """It is known by its keys, or by its name; what it was called before leads to it, too."""
    accounts = accounts_of(ONE)
    state = accounts.of(ONE)

    new = take(accounts, upstream)

    assert new == 0
    assert accounts.of(upstream) is accounts.of(ONE) is state
    assert state.limits == upstream.account
    assert state.upstreams == (upstream,)


async def test_a_name_that_is_given_to_another_account() -> None:
    """The key tells which account it is: the old one keeps its edits under any name."""
    accounts = accounts_of(ONE)
    state = accounts.of(ONE)
    take(accounts, replace(ONE, account=an_account("renamed")))

    new = take(accounts, replace(ONE, account=an_account("renamed")), TWO)

    assert new == 1
    assert accounts.of(ONE) is state
    assert accounts.of(TWO) is not state


async def test_accounts_that_change_their_names() -> None:
    """Two accounts that swap their names keep their keys, and their states."""
    accounts = accounts_of(ONE, FAR)
    near, far = accounts.of(ONE), accounts.of(FAR)

    take(accounts, replace(ONE, account=FAR.account), replace(FAR, account=ONE.account))

    assert (near.limits.name, far.limits.name) == ("far", "acct")


async def test_neither_joined_nor_divided() -> None:
    """A key does not move between two accounts; nothing has changed after the refusal."""
    accounts = accounts_of(ONE, TWO, FAR)

    with pytest.raises(AccountsChangedError, match=r"the accounts acct and far would be of one"):
        accounts.plan([ONE, replace(FAR, account=ONE.account)], {})
    with pytest.raises(AccountsChangedError, match=r"account acct would be of acct and new"):
        accounts.plan([ONE, replace(TWO, account=an_account("new"))], {})

    assert len(accounts.values()) == 2
    assert not accounts.retired


async def test_limits_and_keys_in_force() -> None:
    """Rates, slots and keys are the new ones; that a key was refused is forgotten with it."""
    accounts = accounts_of(ONE)
    state = accounts.of(ONE)
    limiter = state.submit_limiter("wan")
    state.suspend(ONE, UpstreamUnavailable("key"))

    take(accounts, replace(RENEWED, account=WIDE))

    assert (state.queue.free(), state.queue.free("wan")) == (50, 3)
    assert not state.suspensions
    assert state.upstreams_of(a_tenant("acme", ONE)) == list(state.upstreams)
    assert limiter is state.submit_limiter("wan")
    state.suspend(ONE, UpstreamUnavailable("key"))
    assert not state.suspensions
    assert state.failover_for(ONE, UpstreamUnavailable("key")) == state.upstreams[0]


async def test_a_refused_key_that_stays() -> None:
    """Other limits say nothing about it: it goes last, also by an upstream of the old config."""
    accounts = accounts_of(ONE, TWO)
    state = accounts.of(ONE)
    state.suspend(ONE, UpstreamUnavailable("key"))
    wide = [replace(one, account=WIDE) for one in (ONE, TWO)]

    take(accounts, *wide)
    after = state.upstreams_of(a_tenant("acme", ONE, TWO))
    state.suspend(TWO, UpstreamUnavailable("key"))

    assert after == [wide[1], wide[0]]
    assert set(state.suspensions) == {"one", "two"}


async def test_a_task_is_fetched_where_it_was_made() -> None:
    """With the key in force, unless that is at an address which does not say that it has it."""
    moved = replace(ONE.region, base_url="http://moved")
    known = replace(moved, previous=(ONE.region.base_url,))

    seen = []
    for region in (ONE.region, moved, known):
        accounts = accounts_of(ONE)
        take(accounts, replace(RENEWED, region=region))
        seen.append(accounts.of(ONE).renewed(ONE).key)

    assert seen == ["renewed", ONE.key, "renewed"]


async def test_what_is_left_out_is_kept_for_a_day() -> None:
    """Then it is forgotten, unless an edit still needs it."""
    accounts = accounts_of(ONE, FAR)
    far = accounts.of(FAR)
    take(accounts, ONE)
    kept = accounts.drop_retired((), KEPT_SECONDS), accounts.retired, accounts.of(FAR)
    await far.clock.sleep(KEPT_SECONDS + 1.0)

    needed = accounts.drop_retired({far}, KEPT_SECONDS)
    dropped = accounts.drop_retired((), KEPT_SECONDS)

    assert kept == ([], (FAR,), far)
    assert needed == []
    assert dropped == [far]
    assert far not in accounts.values()
    assert not accounts.retired
    with pytest.raises(KeyError):
        accounts.of(FAR)


async def test_a_name_that_an_account_had_that_is_left_out() -> None:
    """The account that is configured goes before the one that is kept for its edits."""
    accounts = accounts_of(ONE, FAR)
    far = accounts.of(FAR)
    renamed = replace(FAR, account=ONE.account)
    take(accounts, renamed)

    new = take(accounts, replace(renamed, key="rotated"))

    assert new == 0
    assert far.upstreams[0].key == "rotated"


async def test_what_was_left_out_comes_back() -> None:
    """It is the account that it was, and is not kept as a retired one any more."""
    accounts = accounts_of(ONE, FAR)
    far = accounts.of(FAR)
    take(accounts, ONE)
    take(accounts, ONE)
    await far.clock.sleep(KEPT_SECONDS + 1.0)

    take(accounts, ONE, FAR)

    assert accounts.of(FAR) is far
    assert not accounts.retired
    assert accounts.drop_retired((), KEPT_SECONDS) == []


async def test_a_service_forgets_an_account() -> None:
    """A day after its last edit it is not polled any more; a new one is."""
    harness = EditHarness(a_tenant("acme", ONE))
    async with harness.service() as service:
        await complete(service, harness.request())
        service.plan_reload([a_tenant("acme", FAR)], [])()
        await complete(service, harness.request("of the new one", tenant=a_tenant("acme", FAR)))
        both = len(service._accounts.values())
        await harness.clock.sleep(KEPT_SECONDS + 3600.0)
        service.plan_reload([a_tenant("acme", FAR)], [])()
        await asyncio.sleep(0)
        left = [state.limits.name for state in service._accounts.values()]

    assert (both, left) == (2, ["far"])
    assert len(service._account_work) == 1
    assert not harness.bugs


async def test_a_restart_that_would_be_refused() -> None:
    """The operator is warned of open edits that only this process can follow."""
    harness = EditHarness(a_tenant("acme", ONE))
    harness.dashscope.run = Run(0.0, 30.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        edit = group.create_task(complete(service, harness.request()))
        await harness.clock.sleep(5.0)
        service.plan_reload([a_tenant("acme", FAR)], [])()
        await edit

    (warning,) = [fields for event, fields in harness.warnings if "restart" in event]
    assert "1 open edit of the account acct" in str(warning["reason"])


async def test_a_ledger_that_is_away_during_a_reload() -> None:
    """The reload does not depend on it."""
    harness = EditHarness(a_tenant("acme", ONE))
    async with harness.service() as service:
        harness.ledger.faults["owed"] = [LedgerUnavailable("away")]
        service.plan_reload([a_tenant("acme", FAR)], [])()
        await complete(service, harness.request(tenant=a_tenant("acme", FAR)))

    assert harness.ledger.faults["owed"] == []
    assert not harness.bugs
    assert not harness.warnings


async def test_a_queue_goes_by_other_settings() -> None:
    """Slots that come are granted at once; weight and max_running are those of the reload."""
    queue = FairQueue(1)
    slow, quick = a_tenant("acme", max_running=1), a_tenant("acme", max_running=3, weight=2)
    running: list[int] = []

    async def one(number: int) -> None:
        async with queue.slot(queue.issue_ticket(slow, 1)):
            running.append(number)
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        before = list(running)
        queue.reconfigure(Capacity(9), {}, {"acme": slow})
        await asyncio.sleep(0)
        narrow = list(running)
        queue.reconfigure(Capacity(9), {}, {"acme": quick})
        await asyncio.sleep(0)
        wide = list(running)
        for task in tasks:
            task.cancel()

    assert (before, narrow, wide) == ([0], [0], [0, 1, 2])


async def test_a_tenant_that_comes_by_an_old_config() -> None:
    """A request that began before the reload brings its old settings; those in force count."""
    queue = FairQueue(9)
    queue.reconfigure(Capacity(9), {}, {"acme": a_tenant("acme", max_running=1)})
    old = a_tenant("acme", max_running=5)

    async with asyncio.TaskGroup() as group:
        running: list[int] = []

        async def one(number: int) -> None:
            async with queue.slot(queue.issue_ticket(old, 1)):
                running.append(number)
                await asyncio.Event().wait()

        tasks = [group.create_task(one(number)) for number in range(3)]
        await asyncio.sleep(0)
        granted = list(running)
        for task in tasks:
            task.cancel()

    assert granted == [0]


async def test_the_last_upstream_of_an_account() -> None:
    """An account without upstreams in force goes by what its edits began with."""
    assert account_state().current(ONE) is ONE
    assert account_state("acct", TWO).current(ONE) is TWO
    assert account_state("acct", replace(ONE, name="other")).current(ONE).name == "other"


async def test_an_upstream_of_earlier_is_known_by_its_name() -> None:
    """A stray of it can be followed; the upstream in force has the name, where both have it."""
    accounts = accounts_of(ONE, FAR)
    take(accounts, replace(TWO, name="one"))

    assert accounts.upstreams["far"] is FAR
    assert accounts.upstreams["one"].key == TWO.key
    assert an_upstream("one") == ONE
