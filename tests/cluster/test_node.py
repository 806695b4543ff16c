"""A node looks at the others once a second, takes what is free, and hands over when it drains."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.cluster.node import Node
from gateway.cluster.owners import Owners
from gateway.cluster.shards import Shard
from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.nodes import ClusterView
from tests.cluster.test_owners import ONE, TWO, lease, view
from tests.warp import WARP, WarpClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return WARP


@dataclass
class FakeRows:
    """Rows of nodes, as a test writes them."""

    view: ClusterView | None
    config: str = "c"
    looks: list[bool] = field(default_factory=list)
    """What each look told of taking shards."""
    away: str = ""
    """``fails`` or ``hangs``: the database is away."""
    registered: bool = False

    async def register(self) -> None:
        self.registered = True

    async def look(self, *, takes: bool) -> ClusterView | None:
        self.looks.append(takes)
        if self.away == "hangs":
            await asyncio.Event().wait()
        if self.away:
            raise LedgerUnavailable("Away.")
        return self.view

    async def leave(self) -> None:
        await self.look(takes=False)
        self.registered = False


@dataclass
class FakeHost:
    """Remembers what it is asked to do."""

    shards: Iterable[Shard] = (ONE, TWO)
    taken: list[str] = field(default_factory=list)
    done: list[tuple[str, float]] = field(default_factory=list)
    refuses: tuple[str, ...] = ()

    def may_take(self, shard: Shard) -> bool:
        return shard.name not in (*self.taken, *self.refuses)

    def take(self, shard: Shard) -> None:
        self.taken.append(shard.name)

    def drop_lost(self) -> None:
        """Nothing is lost here."""

    def hand_over(self, seconds: float) -> None:
        self.done.append(("hand over", seconds))

    def drain(self, seconds: float) -> None:
        self.done.append(("drain", seconds))


@dataclass
class Rig:
    node: Node
    rows: FakeRows
    host: FakeHost
    clock: WarpClock
    seen: list[tuple[Any, ...]]

    def peers_up(self, number: int) -> None:
        self.seen.append(("peers_up", number))

    def config_differs(self, *, differs: bool) -> None:
        self.seen.append(("config_differs", differs))


@asynccontextmanager
async def rig(seen: ClusterView | None) -> AsyncIterator[Rig]:
    clock = WarpClock()
    rows = FakeRows(seen)
    host: Any = FakeHost()
    heard: list[tuple[Any, ...]] = []
    made = Rig(None, rows, host, clock, heard)  # type: ignore[arg-type]  # made next

    def notify(event: str, /, **fields: str | float) -> None:
        heard.append((event, fields))

    made.node = Node(
        name="a",
        config="c",
        rows=rows,
        owners=Owners([ONE, TWO], "a"),
        host=host,
        clock=clock,
        observer=made,
        notify=notify,
    )
    async with made.node:
        running = asyncio.get_running_loop().create_task(made.node.run())
        await asyncio.sleep(0)
        try:
            yield made
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def test_takes_its_share() -> None:
    """Of two free shards it takes one, and the other when nobody does for three seconds."""
    async with rig(view("a", "b")) as it:
        await it.clock.sleep(2.5)
        assert it.host.taken == ["one"]
        await it.clock.sleep(3.0)
        assert it.host.taken == ["one", "two"]


async def test_a_shard_that_was_free_and_taken_is_not_overdue() -> None:
    """Seconds for which a shard was free before it was taken do not count."""
    async with rig(view("a", "b", one=lease("a"))) as it:
        await it.clock.sleep(2.5)
        it.rows.view = view("a", "b", one=lease("a"), two=lease("b"), three=lease("b"))
        await it.clock.sleep(1.0)
        it.rows.view = view("a", "b", one=lease("a"))
        await it.clock.sleep(2.5)
        assert it.host.taken == []


@pytest.mark.parametrize("away", ["fails", "hangs"])
async def test_database_away(away: str) -> None:
    """A look that fails or hangs changes nothing, and the next one comes."""
    async with rig(view("a")) as it:
        await it.clock.sleep(1.5)
        it.rows.away = away
        await it.clock.sleep(9.0)
        looks = len(it.rows.looks)
        assert looks >= 3
        it.rows.away = ""
        await it.clock.sleep(5.0)
        assert len(it.rows.looks) > looks


async def test_registers_and_leaves() -> None:
    """Its row is there while it is entered."""
    async with rig(view("a")) as it:
        assert it.rows.registered
    assert not it.rows.registered


async def test_leaves_without_a_database() -> None:
    """It ends all the same."""
    async with rig(view("a")) as it:
        it.rows.away = "hangs"


async def test_drains_by_handing_over() -> None:
    """With another node that takes shards, everything is handed over and nothing is taken."""
    async with rig(view("a", "b")) as it:
        await it.clock.sleep(1.5)
        assert it.node.drain(60.0) is True
        it.rows.view = view("b", draining=("a",))
        await it.clock.sleep(5.0)
        assert it.host.done == [("hand over", 60.0)]
        assert it.host.taken == ["one"]
        assert it.rows.looks[-1] is False


@pytest.mark.parametrize("seen", [view("a"), view("a", draining=("b",))])
async def test_drains_alone(seen: ClusterView) -> None:
    """Without another node that takes shards it drains as a single gateway does."""
    async with rig(seen) as it:
        await it.clock.sleep(1.5)
        assert it.node.drain(60.0) is False
        assert it.host.done == [("drain", 60.0)]


async def test_configs_differ() -> None:
    """A node with another config is named once, and the gauge shows it."""
    other = view("a", "b")
    other = ClusterView(other.leases, (other.nodes[0], other.nodes[1].__class__("b", "x", True)))
    async with rig(other) as it:
        await it.clock.sleep(3.5)
        assert ("config_differs", True) in it.seen
        assert it.seen.count(("config_differs", {"nodes": "b"})) == 1
        assert ("peers_up", 1) in it.seen
        it.rows.view = view("a")
        await it.clock.sleep(1.5)
        assert it.seen[-2:] == [("peers_up", 0), ("config_differs", False)]


async def test_another_process_has_its_name() -> None:
    """It says so and stops looking: the process has to end."""
    async with rig(None) as it:
        await it.clock.sleep(5.0)
        assert it.node.replaced
        assert it.rows.looks == [True]
        assert it.seen == [("node_replaced", {"node": "a"})]


async def test_another_config() -> None:
    """After a reload it shows another config, and compares the others with that one."""
    async with rig(view("a", "b")) as it:
        it.node.reconfigure("d")
        await it.clock.sleep(1.5)

    assert it.rows.config == "d"
    assert ("config_differs", {"nodes": "b"}) in it.seen
