"""The nouns of who asks and who is paid: frozen, made once from the config."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from gateway.domain.models import Catalogs, ModelLimits


@dataclass(frozen=True, slots=True)
class Region:
    """A DashScope region: its base URL, and the hosts that its results may come from."""

    name: str
    base_url: str
    """Without a trailing slash: ``https://dashscope.aliyuncs.com/api/v1``."""
    result_hosts: tuple[str, ...]
    """Patterns such as ``*.aliyuncs.com``, matched against ``host`` or ``host:port``."""
    previous: tuple[str, ...] = ()
    """Other base URLs of the same region: tasks made there can be fetched here."""


@dataclass(frozen=True, slots=True)
class Account:
    """An Alibaba account in one region: all of its keys share these limits."""

    name: str
    region: str
    submits_per_second: float = 5
    """Of each model that *by_model* does not name, as *running_tasks*."""
    running_tasks: int = 5
    polls_per_second: float = 20
    """Fetches, lists and cancels together, of all models."""
    pending_ahead: int = 1
    """Tasks submitted beyond a model's *running_tasks*, so that no slot idles."""
    shared: bool = False
    """Whether another program or gateway makes tasks on it as well."""
    by_model: Mapping[str, ModelLimits] = field(default_factory=dict, compare=False, repr=False)

    def limits_of(self, model: str) -> ModelLimits:
        """Return what it may do with *model*."""
        usual = ModelLimits(self.submits_per_second, self.running_tasks)
        return self.by_model.get(model, usual)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One DashScope key in one region: key and base URL are never apart."""

    name: str
    region: Region
    account: Account
    key: str = field(repr=False)
    workspace: str = ""
    """The id of the key's workspace, which is sent with every call; empty: none is named."""

    @property
    def key_id(self) -> str:
        """Tells two keys apart, and nothing about either: what the ledger remembers of a key."""
        return sha256(self.key.encode()).hexdigest()[:16]


class MaskRule(StrEnum):
    REFUSE = "refuse"
    COMPOSITE = "composite"


class MarkupRule(StrEnum):
    REFUSE = "refuse"
    OVERLAY = "overlay"
    """It is laid over the first picture before that goes upstream."""


class MetadataRule(StrEnum):
    """What becomes of what a picture says beside its pixels, such as where it was taken."""

    STRIP = "strip"
    KEEP = "keep"


class KeepAlive(StrEnum):
    """How proxies between us and a client who waits are kept from cutting the silence."""

    OFF = "off"
    WHITESPACE = "whitespace"
    """200 and JSON's own white space from the moment the task is accepted."""


class EqualEdits(StrEnum):
    """What equal requests are that come while the first is still being answered."""

    SEPARATE = "separate"
    """Edits of their own, unless marked as retries."""
    JOIN = "join"
    """One edit: for proxies that stay connected when their own client has left."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whom a client's key belongs to."""

    name: str
    region: str
    upstreams: tuple[Upstream, ...]
    """Tried in order; all of *region*."""
    catalogs: Catalogs = field(default_factory=dict, compare=False, repr=False)
    """The models that its clients may request."""
    fit: bool = True
    mask: MaskRule = MaskRule.COMPOSITE
    markup: MarkupRule = MarkupRule.OVERLAY
    metadata: MetadataRule = MetadataRule.STRIP
    strict: bool = False
    cut_off_seconds: float = 0
    """The proxy in front cuts after so long; 0: none."""
    keep_alive: KeepAlive = KeepAlive.OFF
    equal_edits: EqualEdits = EqualEdits.SEPARATE
    weight: int = 1
    """The share of a crowded account, relative to its other tenants."""
    max_waiting: int = 1000
    """Edits in the queue; one more is refused with 429."""
    max_running: int = 0
    """Tasks submitted and not ended; 0: as many as the account has."""
