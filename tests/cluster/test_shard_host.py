"""The shards that a node owns: taken, carried, handed over and lost, with what clients see."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.cluster.owners import Here, Nobody, Owners
from gateway.cluster.shard_host import ShardHost, ShardLedger
from gateway.cluster.shards import Shard
from gateway.domain.clock import Phases
from gateway.domain.errors import ContentRefused, GatewayError, LedgerUnavailable, NotFound
from gateway.edits.account import AccountsChangedError
from gateway.edits.request import EditRequest, ShardMoved
from gateway.edits.service import EditService
from gateway.edits.takeover import OrphanedEditsError
from tests.edits.harness import EditHarness, complete, error_of, narrow_harness
from tests.edits.without_tasks import QWEN
from tests.fake_stores import FakeLedger, FakeShardLedger
from tests.fakes import Run, Submit, a_tenant
from tests.warp import WARP

pytestmark = pytest.mark.anyio

SHARD = Shard("acct", "beijing", ("acct",), ("acme",))
OTHER = Shard("other", "singapore", ("other",), ("bravo",))


@pytest.fixture
def anyio_backend() -> Any:
    return WARP


@dataclass
class HostRig:
    """A host of two shards, of which one has a tenant with a DashScope."""

    harness: EditHarness
    host: ShardHost
    owners: Owners
    why_not: deque[object]
    """For each time that a lease is taken, why that is not possible."""
    seen: list[tuple[Any, ...]]
    ledgers: list[FakeShardLedger] = field(default_factory=list)

    def ledger(self, _shard: Shard) -> ShardLedger:
        why_not = self.why_not.popleft() if self.why_not else ""
        self.ledgers.append(FakeShardLedger(self.harness.ledger, self.harness.clock, why_not))
        return self.ledgers[-1]

    def service(self, _shard: Shard, ledger: ShardLedger) -> EditService:
        return self.harness.service(ledger=ledger)

    def shard_held(self, shard: str, *, held: bool) -> None:
        self.seen.append((shard, held))

    def shard_taken(self, why: str) -> None:
        self.seen.append(("taken", why))

    async def taken(self) -> FakeShardLedger:
        """Take the shard, and return its ledger."""
        self.host.take(SHARD)
        await self.harness.clock.sleep(0.1)
        assert self.owners.owner_of("acct") == Here()
        return self.ledgers[-1]

    async def complete(self, request: EditRequest) -> Any:
        return await complete(self.host, request)  # type: ignore[arg-type]  # as an EditService


@asynccontextmanager
async def rig(*why_not: object, harness: EditHarness | None = None) -> AsyncIterator[HostRig]:
    harness = harness or EditHarness()
    owners = Owners([SHARD, OTHER], "a")
    heard: list[tuple[Any, ...]] = []
    made = HostRig(harness, None, owners, deque(why_not), heard)  # type: ignore[arg-type]  # next
    made.host = ShardHost(
        [SHARD, OTHER],
        owners,
        make_ledger=made.ledger,
        make_service=made.service,
        routing_of=lambda _: (harness.tenants, ()),
        clock=harness.clock,
        observer=made,
        notify=lambda event, /, **fields: heard.append((event, fields)),
        on_bug=harness.bugs.append,
    )
    async with made.host:
        yield made


async def test_carries_and_counts() -> None:
    """An edit of an owned shard is carried here; gauges and records are those of the shard."""
    async with rig() as it:
        assert (it.host.busy, it.host.recoverable, it.host.oldest_recoverable) == (0, 0, 0.0)
        assert await it.host.counts() == {"open": 0, "succeeded": 0, "failed": 0}
        await it.taken()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(it.complete(it.harness.request()))
            await it.harness.clock.sleep(3.0)
            assert it.host.busy == 1
            assert it.host.oldest_waits() == {"beijing": 0.0, "singapore": 0.0}
            assert it.host.snapshot().running.total == 1
        assert first.result().pictures
        assert await it.host.counts() == {"open": 2, "succeeded": 1, "failed": 0}
        it.host.hand_over()
        await it.harness.clock.sleep(0.2)
    assert it.seen == [
        ("acct", False),
        ("other", False),
        ("taken", "given"),
        ("shard_taken", {"shard": "acct", "why": "given"}),
        ("acct", True),
        ("acct", False),
        ("shard_left", {"shard": "acct", "why": "given"}),
    ]


async def test_what_is_not_owned_has_moved() -> None:
    """Of a shard that is owned elsewhere, or is being taken, nothing is done here."""
    async with rig("the lease of b is not over") as it:
        for take in (True, False):
            with pytest.raises(ShardMoved):
                await it.complete(it.harness.request())
            with pytest.raises(ShardMoved):
                await it.host.withdraw(it.harness.tenants[0], "edit_1")
            with pytest.raises(ShardMoved):
                async with it.host.collect(
                    it.harness.tenants[0], "edit_1", patience=1.0, phases=Phases(started=0.0)
                ):
                    pass
            if take:
                it.host.take(SHARD)  # which does not succeed at once, and then not at all
        await it.harness.clock.sleep(0.1)
        assert it.owners.owner_of("acct") == Nobody()
        assert it.host.may_take(SHARD)


async def test_looks_and_withdraws() -> None:
    """An edit of an owned shard is looked at and withdrawn; one that is not there is not found."""
    async with rig(harness=narrow_harness()) as it:
        await it.taken()
        tenant = it.harness.tenants[0]
        with pytest.raises(NotFound):
            await it.host.withdraw(tenant, "edit_0")
        async with asyncio.TaskGroup() as group:
            group.create_task(it.complete(it.harness.request("first")))
            await it.harness.clock.sleep(1.0)
            async with it.host.attend(it.harness.request("waits")) as waiter:
                edit_id = waiter.status.edit_id
                found = it.host.collect(tenant, edit_id, patience=1.0, phases=Phases(started=0.0))
                async with found as looking:
                    assert looking.status.stage == "waiting"
                assert (await it.host.withdraw(tenant, edit_id)).edit_id == edit_id


async def test_handed_over() -> None:
    """Who waits goes on at the next owner, which has the task: it is made once."""
    async with rig() as it:
        ledger = await it.taken()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_moved(it, it.harness.request()))
            await it.harness.clock.sleep(5.0)
            it.host.hand_over()
        edit_id = waiting.result()
        await it.harness.clock.sleep(0.1)
        assert (ledger.given, ledger.unsettled) == (True, False)
        again = it.harness.request(edit_id=edit_id, repeats=True)
        await it.taken()
        assert (await it.complete(again)).status.edit_id == edit_id
    assert it.harness.dashscope.count("submit") == 1


async def _moved(it: HostRig, request: EditRequest) -> str:
    """Wait for an edit until its shard moves; return its id."""
    edit_id = ""
    try:
        async with it.host.attend(request) as waiter:
            edit_id = waiter.status.edit_id
            await waiter.answer()
    except ShardMoved:
        return edit_id
    raise AssertionError("It has not moved.")


async def test_a_waiting_edit_is_not_submitted_while_it_is_handed_over() -> None:
    """From the hand-over on nothing is submitted, though a slot becomes free."""
    harness = narrow_harness()
    harness.dashscope.submits.append(Submit(takes=1.2, run=Run(0.0, 0.1)))
    async with rig(harness=harness) as it, asyncio.TaskGroup() as group:
        await it.taken()
        group.create_task(_moved_or_made(it, it.harness.request("first")))
        await it.harness.clock.sleep(0.5)
        waiting = group.create_task(_moved(it, it.harness.request("second")))
        await it.harness.clock.sleep(0.1)
        it.host.hand_over()
        await waiting
        assert harness.dashscope.count("submit") == 1


async def _moved_or_made(it: HostRig, request: EditRequest) -> None:
    try:
        await it.complete(request)
    except ShardMoved:
        return


async def test_a_submit_that_is_out_too_long() -> None:
    """Giving the lease back then proves nothing: the next owner is to wait as after a death."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(takes=30.0))
    async with rig(harness=harness) as it, asyncio.TaskGroup() as group:
        ledger = await it.taken()
        group.create_task(_moved(it, it.harness.request()))
        await it.harness.clock.sleep(2.0)
        it.host.hand_over()
        await it.harness.clock.sleep(3.0)
        assert (ledger.given, ledger.unsettled) == (True, True)


async def test_a_submit_that_cannot_be_fetched_again() -> None:
    """It is waited for: no other node could ever get its pictures."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 15.0)
    async with rig(harness=harness) as it, asyncio.TaskGroup() as group:
        ledger = await it.taken()
        made = group.create_task(it.complete(harness.request(model=QWEN)))
        await harness.clock.sleep(2.0)
        it.host.hand_over(60.0)
        await harness.clock.sleep(5.0)
        assert not ledger.given
        assert (await made).pictures
        await harness.clock.sleep(1.0)
        assert (ledger.given, ledger.unsettled) == (True, False)


async def test_an_answer_that_is_being_sent() -> None:
    """Its picture is on the way: the client gets it here, within the hand-over's time."""
    harness = EditHarness()
    async with rig(harness=harness) as it:
        ledger = await it.taken()
        async with it.host.attend(harness.request()) as waiter:
            assert (await waiter.answer()).pictures
            it.host.hand_over()
            await harness.clock.sleep(1.0)
            assert not ledger.given
            await waiter.delivered()
        await harness.clock.sleep(0.5)
        assert ledger.given


async def test_lost() -> None:
    """Another node has the lease: nothing more is done here, and the clients go there."""
    async with rig() as it, asyncio.TaskGroup() as group:
        ledger = await it.taken()
        waiting = group.create_task(_moved(it, it.harness.request()))
        await it.harness.clock.sleep(3.0)
        it.host.drop_lost()
        await it.harness.clock.sleep(1.0)
        assert it.owners.owner_of("acct") == Here()
        ledger.lost = True
        it.host.drop_lost()
        await waiting
        assert it.owners.owner_of("acct") == Nobody()
        await it.harness.clock.sleep(0.5)
        assert it.seen[-1] == ("shard_left", {"shard": "acct", "why": "lost"})
        assert it.host.may_take(SHARD)


async def test_after_a_death() -> None:
    """The lease had expired: that is counted."""
    async with rig() as it:
        it.host.take(SHARD)
        it.ledgers[0].submits_end_at = 45.0
        await it.harness.clock.sleep(0.1)
        assert ("taken", "expired") in it.seen


@pytest.mark.parametrize(
    ("trouble", "bugs", "again"),
    [
        pytest.param(LedgerUnavailable("Away."), 0, True, id="database-away"),
        pytest.param(RuntimeError("A bug."), 1, True, id="bug"),
        pytest.param(OrphanedEditsError("upstreams: 1 open edit"), 0, False, id="orphans"),
    ],
)
async def test_cannot_take(trouble: Exception, bugs: int, *, again: bool) -> None:
    """The shard stays free; one whose edits this config orphans is left alone for a minute."""
    async with rig(trouble) as it:
        it.host.take(SHARD)
        await it.harness.clock.sleep(0.1)
        assert len(it.harness.bugs) == bugs
        assert it.host.may_take(SHARD) is again
        assert (
            ("shard_refused", {"shard": "acct", "reason": str(trouble)}) in it.seen
        ) is not again
        await it.harness.clock.sleep(61.0)
        assert it.host.may_take(SHARD)


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        pytest.param(LedgerUnavailable("Away."), ShardMoved, id="may-pass"),
        pytest.param(ContentRefused("Refused."), ContentRefused, id="final"),
    ],
)
async def test_an_error_after_the_shard_has_left(
    error: GatewayError, seen: type[BaseException]
) -> None:
    """It may only say that the shard has left: then the next owner is asked. Other errors stay."""
    async with rig() as it:
        await it.taken()

        async def fail_once_it_has_left() -> None:
            async with it.host.attend(it.harness.request()) as waiter:
                await it.harness.clock.sleep(20.0)
                await waiter.delivered()
                it.host.hand_over()
                await it.harness.clock.sleep(3.0)
                raise error

        with pytest.raises(seen):
            await fail_once_it_has_left()


async def test_begins_nothing_once_it_has_left() -> None:
    """A client that came while the shard left begins nothing here."""
    harness = EditHarness()
    service = harness.service()
    async with service:
        service.move()
        with pytest.raises(ShardMoved):
            await complete(service, harness.request())
    assert harness.dashscope.count("submit") == 0


async def test_an_edit_of_the_ledger_is_not_carried_once_it_has_left() -> None:
    """Who looks at an edit that the ledger has open is sent on: the next owner carries it."""
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 900.0)
    async with harness.service() as service, asyncio.TaskGroup() as group:
        task = group.create_task(complete(service, harness.request(edit_id="edit_1")))
        await harness.clock.sleep(2.0)
        task.cancel()
    ledger = harness.ledger
    empty = FakeLedger(harness.clock.now)
    service = harness.service(ledger=empty)
    async with service:
        service._index._ledger = ledger
        service.move()
        with pytest.raises(ShardMoved):
            async with service.collect(
                a_tenant(), "edit_1", patience=1.0, phases=Phases(started=0.0)
            ):
                pass


async def test_drains_and_turns_away_as_a_single_gateway() -> None:
    """Without another node the services refuse what is new, and answer who waits."""
    async with rig() as it, asyncio.TaskGroup() as group:
        await it.taken()
        waiting = group.create_task(error_of(it.complete(it.harness.request())))
        await it.harness.clock.sleep(3.0)
        before = it.host.draining
        it.host.drain(60.0)
        assert (before, it.host.draining) == (False, True)
        with pytest.raises(GatewayError, match="restarts"):
            await it.complete(it.harness.request("another"))
        it.host.turn_away()
        assert "goes on" in str(await waiting)


async def test_another_config() -> None:
    """The services here, and those that are opened later, go by the tenants of the new config."""
    async with rig() as it:
        await it.taken()
        heavy = a_tenant("acme", weight=7)
        renamed = Shard("acct", "beijing", ("acct",), ("acme", "new"))
        it.host.plan_reload([renamed, OTHER], lambda _: ([heavy, a_tenant("new")], ()))()
        (service,) = it.host._services
        tenants = {tenant.name: tenant.weight for tenant in service.tenants}
        result = await it.complete(it.harness.request(tenant=a_tenant("new")))

    assert tenants == {"acme": 7, "new": 1}
    assert result.pictures


async def test_shards_of_other_accounts() -> None:
    """The other nodes would not know who owns them: that is refused, and nothing has changed."""
    async with rig() as it:
        await it.taken()
        joined = Shard("acct", "beijing", ("acct", "other"), ("acme",))

        with pytest.raises(AccountsChangedError, match=r"\(acct, other\); restart the nodes one"):
            it.host.plan_reload([joined], lambda _: (it.harness.tenants, ()))

        assert it.host.shards == (SHARD, OTHER)


async def test_a_config_for_a_shard_that_has_left() -> None:
    """Its service carries nothing any more, so that nothing of it is changed."""
    async with rig() as it:
        await it.taken()
        (service,) = it.host._services
        reload_edits = service.plan_reload([a_tenant("acme", weight=7)], ())
        service.move()

        reload_edits()

        assert [tenant.weight for tenant in service.tenants] == [1]
