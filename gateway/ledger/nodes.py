"""What a node sees of the others: their leases and their rows; the types without a driver."""

from collections.abc import Mapping
from dataclasses import dataclass

ALIVE_SECONDS = 3.0
"""A node that was seen so lately lives; it shows itself once a second."""


@dataclass(frozen=True, slots=True)
class LeaseView:
    """One lease, whoever holds it."""

    holder: str
    """A token that is never used again; empty: it was given back."""
    node: str
    url: str
    """Where that node is reached; empty if it is not known."""
    lasts: bool


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node that was seen in the last seconds."""

    node: str
    config: str
    """A short name of what its config says."""
    takes: bool
    """Whether it takes shards: not while it drains."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as an operator's command shows it, whether it lives or not."""

    node: str
    url: str
    version: str
    config: str
    """As in NodeView."""
    takes: bool
    """The same."""
    silent: float
    """Seconds since it was seen, by the database's clock."""
    owned: tuple[str, ...]
    """The accounts on which it holds a lease."""

    @property
    def lives(self) -> bool:
        return self.silent < ALIVE_SECONDS


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What one look at the database showed."""

    leases: Mapping[str, LeaseView]
    """By name."""
    nodes: tuple[NodeView, ...]
