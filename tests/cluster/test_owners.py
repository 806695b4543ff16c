"""Who owns a shard by the leases, and which free shards a node takes."""

import asyncio

import pytest

from gateway.cluster.owners import Here, Nobody, Owners, Peer, shards_to_take
from gateway.cluster.shards import Shard
from gateway.ledger.nodes import ClusterView, LeaseView, NodeView

ONE = Shard("one", "beijing", ("one",), ("acme",))
TWO = Shard("two", "beijing", ("three", "two"), ("bravo",))
SIX = Shard("six", "beijing", ("six",), ())


def lease(node: str, *, lasts: bool = True, url: str | None = None) -> LeaseView:
    return LeaseView(f"token-of-{node}", node, f"http://{node}" if url is None else url, lasts)


def view(*nodes: str, draining: tuple[str, ...] = (), **leases: LeaseView) -> ClusterView:
    known = tuple(NodeView(name, "c", name not in draining) for name in (*nodes, *draining))
    return ClusterView(leases, known)


PEER = Peer("b", "http://b", token="token-of-b")


@pytest.mark.parametrize(
    ("seen", "owner"),
    [
        pytest.param(view("b"), Nobody(), id="no-lease-yet"),
        pytest.param(view("b", one=lease("b")), PEER, id="held"),
        pytest.param(view("b", one=lease("b", lasts=False)), Nobody(), id="expired"),
        pytest.param(view("b", one=lease("b", url="")), Nobody(), id="at-an-unknown-place"),
        pytest.param(view("a", one=lease("a")), Nobody(), id="mine-but-not-opened"),
    ],
)
def test_owner(seen: ClusterView, owner: object) -> None:
    """A shard is another node's as long as its lease lasts, and mine once its edits are here."""
    owners = Owners([ONE], "a")
    owners.update(seen)

    assert owners.owner_of("one") == owner
    owners.opened("one")
    assert owners.owner_of("one") == Here()
    owners.closed("one")
    assert owners.owner_of("one") == owner


@pytest.mark.parametrize(
    ("three", "two", "owner"),
    [
        pytest.param("b", "b", Peer("b", "http://b", token="token-of-b token-of-b"), id="all"),
        pytest.param("b", "c", Nobody(), id="two-nodes"),
    ],
)
def test_owner_of_several_accounts(three: str, two: str, owner: object) -> None:
    """Nodes whose configs differ may hold a part each: then nobody owns the whole."""
    owners = Owners([TWO], "a")
    owners.update(view("b", "c", three=lease(three), two=lease(two)))

    assert owners.owner_of("two") == owner


@pytest.mark.anyio
async def test_changed() -> None:
    """Who waits hears of the next owner, and not of a look that showed the same."""
    owners = Owners([ONE, SIX], "a")
    waiting = asyncio.get_running_loop().create_task(owners.changed("one", Nobody()))
    owners.update(view("b", six=lease("b")))
    owners.update(view("b", six=lease("b")))
    await asyncio.sleep(0)
    assert not waiting.done()
    owners.update(view("b", one=lease("b"), six=lease("b")))

    assert await waiting == PEER


@pytest.mark.parametrize(
    ("seen", "taken"),
    [
        pytest.param(view("a", "b"), ["one", "six"], id="in-turn"),
        pytest.param(view("b", "c"), [], id="i-am-not-seen-yet"),
        pytest.param(view(), ["one", "two", "six"], id="nobody-is-seen"),
        pytest.param(view("b", draining=("a",)), [], id="i-drain"),
        pytest.param(view("a", draining=("b",)), ["one", "two", "six"], id="the-other-drains"),
        pytest.param(view("a", "b", one=lease("a")), ["six"], id="the-other-has-fewer"),
        pytest.param(view("a", "b", one=lease("b")), ["two", "six"], id="i-have-fewer"),
        pytest.param(
            view("a", "b", one=lease("b", lasts=False)), ["one", "six"], id="expired-is-free"
        ),
        pytest.param(
            view("a", one=lease("b"), two=lease("b"), six=lease("b")), [], id="nothing-free"
        ),
        pytest.param(view("a", two=lease("b")), ["one", "six"], id="held-in-part"),
    ],
)
def test_shards_to_take(seen: ClusterView, taken: list[str]) -> None:
    """A free shard goes to the node that takes shards and has fewest."""
    assert [one.name for one in shards_to_take([ONE, TWO, SIX], seen, "a")] == taken


def test_overdue() -> None:
    """What another node should have taken long ago, this one takes."""
    found = shards_to_take([ONE, TWO], view("b", "c"), "a", overdue=["two"])

    assert found == [TWO]
