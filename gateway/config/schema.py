"""
Every key of a config file, one frozen dataclass for each table.

A field is a key: its type is what the program gets, its default what an absent key means, and
its Key what an operator may write. A field without a default is required. A test compares
docs/reference/config.md with this file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from gateway.config.prices import PricesByRegion
from gateway.config.rules import (
    BaseUrl,
    BaseUrls,
    ByRegion,
    Choice,
    Choices,
    Collector,
    DatabaseUrl,
    Dates,
    Flag,
    Hashes,
    Hosts,
    Key,
    KeyReference,
    Length,
    Name,
    Names,
    Number,
    Origins,
    OrVariable,
    PictureFormats,
    PictureSizes,
    PublicUrl,
    Rate,
    RegionNames,
    Share,
    Span,
    StoreAddress,
    Text,
    Whole,
    Workspace,
)
from gateway.domain.edit import Size
from gateway.domain.models import DEFAULTS, Catalogs, Family, ModelLimits, ModelTable, Operation
from gateway.domain.price import Price, Prices
from gateway.domain.tenant import (
    Account,
    EqualEdits,
    KeepAlive,
    MarkupRule,
    MaskRule,
    MetadataRule,
    Region,
    Tenant,
    Upstream,
)

_MIB = 1024 * 1024
OPTIONS = (
    "n",
    "size",
    "negative_prompt",
    "seed",
    "watermark",
    "prompt_extend",
    "prompt_extend_mode",
    "enable_thinking",
    "thinking_mode",
    "bbox_list",
    "color_palette",
)
"""DashScope's parameters of images; the first six are those of wan2.5 (dashscope.md 1.3)."""


_ACCOUNT = Account("", "")
_LIMITS = ModelLimits()
_TENANT = Tenant("", "", ())
"""Their defaults are those of the keys."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """``[server]``"""

    host: Annotated[str, Key(Text(), "The address to listen on.", live=False)] = "127.0.0.1"
    port: Annotated[int, Key(Whole(0, 65535), "The port; 0 takes a free one.", live=False)] = 8080
    max_wait_seconds: Annotated[
        float, Key(Number(0), "The longest time that a client is kept waiting.", "seconds")
    ] = 540
    drain_seconds: Annotated[
        float, Key(Number(0, or_least=True), "How long edits may go on after SIGTERM.", "seconds")
    ] = 150
    max_body_bytes: Annotated[
        int, Key(Whole(1024), "The largest request; a larger one is 413.", "bytes")
    ] = 64 * _MIB
    max_bytes_in_flight: Annotated[
        int, Key(Whole(1024), "The bodies of all requests together; beyond it: 503.", "bytes")
    ] = 512 * _MIB
    inline_bytes: Annotated[
        int, Key(Whole(0), "The pictures of a larger submit are uploaded first.", "bytes")
    ] = 6_000_000
    body_seconds: Annotated[float, Key(Number(0), "The longest time for a body.", "seconds")] = 120
    idle_body_seconds: Annotated[
        float, Key(Number(0), "The longest silence within a body.", "seconds")
    ] = 20
    heartbeat_seconds: Annotated[
        float, Key(Number(0), "The interval of heartbeats to a client that waits.", "seconds")
    ] = 5
    cost_header: Annotated[
        bool, Key(Flag(), "Tell clients what an edit cost, in x-wan-cost: 0.20 CNY.")
    ] = False
    cors_origins: Annotated[
        tuple[str, ...], Key(Origins(), "Origins of web pages whose scripts may call; empty: none.")
    ] = ()


@dataclass(frozen=True, slots=True)
class StateConfig:
    """``[state]``"""

    path: Annotated[
        str,
        Key(
            Text('a file, or "memory"'), 'The ledger\'s file; "memory" forgets at exit.', live=False
        ),
    ] = "state/gateway.db"
    sync: Annotated[
        str,
        Key(
            Choice(("normal", "full")),
            "normal survives SIGKILL, full also a loss of power.",
            live=False,
        ),
    ] = "normal"
    url: Annotated[
        str | None,
        Key(
            DatabaseUrl(),
            "A PostgreSQL database for the ledger, in place of path and sync.",
            default="a local file",
            live=False,
        ),
    ] = field(default=None, repr=False)

    @property
    def file(self) -> Path | None:
        """The ledger's file; ``None``: it has none."""
        return None if self.url or self.path == "memory" else Path(self.path)


@dataclass(frozen=True, slots=True)
class ClusterTable:
    """``[cluster]``"""

    node: Annotated[
        str, Key(OrVariable(Name()), "This node's name, which no other node has.", live=False)
    ]
    url: Annotated[
        str,
        Key(
            OrVariable(BaseUrl('a URL such as "http://10.0.0.5:8080"')),
            "Where the other nodes reach this one.",
            live=False,
        ),
    ]
    secret: Annotated[
        str, Key(KeyReference(), "Where the secret is kept that the nodes share.", live=False)
    ]
    lease_seconds: Annotated[
        float,
        Key(
            Number(1, or_least=True),
            "How long after a node's death another one takes over.",
            "seconds",
            live=False,
        ),
    ] = 10


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """``[cluster]``, checked and with its secret."""

    node: str
    url: str
    """Without a path."""
    secret: str = field(repr=False)
    lease_seconds: float = 10


@dataclass(frozen=True, slots=True)
class LogConfig:
    """``[log]``"""

    level: Annotated[
        str, Key(Choice(("debug", "info", "warning", "error")), "The least that is written.")
    ] = "info"
    format: Annotated[
        str,
        Key(Choice(("auto", "json", "text")), "auto: text on a terminal, else JSON.", live=False),
    ] = "auto"


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """``[metrics]``"""

    port: Annotated[
        int,
        Key(
            Whole(0, 65535), "A port of its own for /metrics; 0: it is on server.port.", live=False
        ),
    ] = 0
    host: Annotated[
        str | None,
        Key(Text(), "The address to listen on there.", default="that of server", live=False),
    ] = None
    token: Annotated[
        str | None,
        Key(
            KeyReference(),
            "Where the scraper's bearer token is kept.",
            default="none: no key; on server.port several tenants are then shown as one",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class TracesConfig:
    """``[traces]``, without its headers"""

    endpoint: Annotated[
        str | None,
        Key(
            Collector(),
            "Where traces go: a collector of OTLP over HTTP.",
            default="nowhere",
            live=False,
        ),
    ] = None
    sample: Annotated[
        float | None,
        Key(
            Share(),
            "Share of edits that are traced, unless the client's own trace decides.",
            default="what OTEL_TRACES_SAMPLER says, or 1",
            live=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class DashboardTable:
    """``[dashboard]``"""

    on: Annotated[bool, Key(Flag(), "Serve the live page at /dashboard.", live=False)] = False
    token: Annotated[
        str | None,
        Key(
            KeyReference(),
            "Where the token that opens it is kept; required behind a proxy.",
            default="none: loopback only",
        ),
    ] = None
    thumbnails: Annotated[
        bool, Key(Flag(), "Show small pictures of what is edited; kept in memory only.", live=False)
    ] = False


@dataclass(frozen=True, slots=True)
class DashboardConfig:
    """``[dashboard]``, checked and with its token."""

    on: bool = False
    token: str | None = field(default=None, repr=False)
    thumbnails: bool = False


@dataclass(frozen=True, slots=True)
class ResultsTable:
    """``[results]``"""

    store: Annotated[
        str,
        Key(StoreAddress(), "Where pictures are kept that are answered by a URL.", live=False),
    ] = "off"
    public_url: Annotated[
        str | None,
        Key(
            PublicUrl(),
            "What their URLs begin with: the address at which clients reach the gateway.",
            default="required with a store",
        ),
    ] = None
    secret: Annotated[
        str | None,
        Key(
            KeyReference(),
            "Where the secret is kept that signs their URLs.",
            default="required with a store",
        ),
    ] = None
    previous_secret: Annotated[
        str | None,
        Key(
            KeyReference(),
            "Where an earlier secret is kept, whose URLs still work.",
            default="none",
        ),
    ] = None
    keep_hours: Annotated[
        float, Key(Number(0), "How long pictures are kept, and their URLs work.", "hours")
    ] = 24
    s3_endpoint: Annotated[
        str | None,
        Key(
            BaseUrl('a URL such as "https://oss-cn-beijing.aliyuncs.com"'),
            "The service that has the bucket.",
            default="Amazon's, by its region",
            live=False,
        ),
    ] = None
    s3_region: Annotated[
        str | None,
        Key(
            Text("the name of a region"), "Its region.", default="what AWS_REGION says", live=False
        ),
    ] = None
    s3_bucket_in_host: Annotated[
        bool, Key(Flag(), "true: the bucket is part of the host name, as OSS requires.", live=False)
    ] = False
    s3_access_key: Annotated[
        str | None,
        Key(
            KeyReference(),
            "Where the id of its access key is kept.",
            default="AWS_ACCESS_KEY_ID, or the machine's role",
            live=False,
        ),
    ] = None
    s3_secret_key: Annotated[
        str | None,
        Key(
            KeyReference(),
            "Where its secret access key is kept.",
            default="AWS_SECRET_ACCESS_KEY, or the machine's role",
            live=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class ResultsConfig:
    """``[results]``, checked and with its secrets; there is none if the store is off."""

    store: str
    public_url: str
    secret: str = field(repr=False)
    previous_secret: str | None = field(repr=False)
    keep_hours: float
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_bucket_in_host: bool = False
    s3_access_key: str | None = field(default=None, repr=False)
    s3_secret_key: str | None = field(default=None, repr=False)

    @property
    def keep_seconds(self) -> float:
        return 3600 * self.keep_hours


@dataclass(frozen=True, slots=True)
class ModelsTable:
    """``[models]``, without its aliases and the tables of models"""

    default: Annotated[
        str, Key(Text("the name of a model"), "What an edit without a model gets.")
    ] = DEFAULTS[Operation.EDIT]
    default_generation: Annotated[
        str, Key(Text("the name of a model"), "What a generation without a model gets.")
    ] = DEFAULTS[Operation.GENERATE]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """``[models."NAME"]``: a model of DashScope's; of a built-in one only what differs."""

    family: Annotated[
        str,
        Key(
            Choice(tuple(Family)),
            "Its wire format: synthesis is that of wan2.5 and before.",
            live=False,
        ),
    ]
    pixels: Annotated[
        tuple[int, int], Key(Span(1), "Width x height of what it makes, from and to.", "pixels")
    ]
    tasks: Annotated[
        bool,
        Key(Flag(), "false: a submit is answered with the pictures, not with a task.", live=False),
    ] = True
    edits: Annotated[bool, Key(Flag(), "It edits pictures.")] = False
    generations: Annotated[bool, Key(Flag(), "It makes pictures of a prompt alone.")] = False
    images: Annotated[tuple[int, int], Key(Span(0), "How many pictures it takes.")] = (0, 0)
    image_sides: Annotated[
        tuple[int, int], Key(Span(1), "The sides of a picture that it takes.", "pixels")
    ] = (384, 5000)
    image_bytes: Annotated[
        int, Key(Whole(1), "The largest file that it takes; 10 MB stands for 10,000,000.", "bytes")
    ] = 10_000_000
    image_ratio: Annotated[
        int, Key(Whole(1), "Of a picture's longer side to the shorter, at most.")
    ] = 1000
    image_formats: Annotated[
        tuple[str, ...], Key(PictureFormats(), "Formats that it takes; others are re-encoded.")
    ] = ("jpeg", "png", "bmp", "webp")
    image_alpha: Annotated[
        bool, Key(Flag(), "It takes transparency, which is laid on white otherwise.")
    ] = False
    prompt: Annotated[
        tuple[int, bool], Key(Length(), "The longest prompt.", default='"2000 characters"')
    ] = (2000, False)
    negative_prompt: Annotated[int, Key(Whole(0), "The longest negative prompt.", "characters")] = (
        500
    )
    ratio: Annotated[
        int, Key(Whole(1), "Of the longer side of what it makes to the shorter, at most.")
    ] = 4
    sides: Annotated[tuple[int, int], Key(Span(1), "The sides of what it makes.", "pixels")] = (
        1,
        8192,
    )
    sizes: Annotated[
        tuple[Size, ...],
        Key(PictureSizes(), "The only sizes that it makes; []: all within the rest."),
    ] = ()
    generation_pixels: Annotated[
        tuple[int, int],
        Key(Span(0), "As pixels, of pictures from a prompt alone; [0, 0]: the same.", "pixels"),
    ] = (0, 0)
    unasked_pixels: Annotated[
        int,
        Key(
            Whole(0),
            "The most of a picture whose size the client left out; 0: the model chooses.",
            "pixels",
        ),
    ] = 0
    transparent: Annotated[
        bool, Key(Flag(), "It makes transparent pictures if the prompt asks for them.")
    ] = False
    step: Annotated[int, Key(Whole(1), "It rounds both sides to multiples of this.", "pixels")] = 1
    n: Annotated[int, Key(Whole(1), "Pictures of one task or submit, at most.")] = 4
    options: Annotated[
        tuple[str, ...],
        Key(
            Choices(OPTIONS),
            "The parameters of DashScope's that it has.",
            default="those of wan2.5",
        ),
    ] = OPTIONS[:6]
    snapshots: Annotated[
        tuple[str, ...],
        Key(Dates(), "NAME-DATE are models, too, of the same kind.", default="none"),
    ] = ()
    regions: Annotated[
        tuple[str, ...], Key(RegionNames(), "Regions of DashScope's that have it; []: all.")
    ] = ()
    submits: Annotated[
        tuple[tuple[str, float], ...],
        Key(
            ByRegion(Rate()),
            "Submits of one account; a minute's are spread evenly.",
            default=f'"{_LIMITS.submits_per_second:g} per second"',
        ),
    ] = ()
    running: Annotated[
        tuple[tuple[str, int], ...],
        Key(
            ByRegion(Whole(0)),
            "Tasks of one account that run at once, or submits without tasks; 0: any number.",
            "tasks",
            default=f"{_LIMITS.running_tasks}",
        ),
    ] = ()
    prices: Annotated[
        tuple[tuple[str, Price], ...],
        Key(
            PricesByRegion(),
            "What its pictures cost; prices.REGION overrides it.",
            default="no cost is estimated",
        ),
    ] = ()


@dataclass(frozen=True, slots=True)
class RegionTable:
    """``[regions.NAME]``"""

    base_url: Annotated[
        str | None,
        Key(
            BaseUrl(),
            "DashScope's API there.",
            default="built in for beijing, singapore, virginia, hongkong",
        ),
    ] = None
    result_hosts: Annotated[
        tuple[str, ...] | None,
        Key(
            Hosts(),
            "Hosts from which results may be downloaded.",
            default='["*.aliyuncs.com"], and the host of another base_url',
        ),
    ] = None
    previous: Annotated[
        tuple[str, ...],
        Key(BaseUrls(), "Earlier base_urls of the same region: tasks made there are fetched here."),
    ] = ()


@dataclass(frozen=True, slots=True)
class UpstreamTable:
    """``[upstreams.NAME]``: one DashScope key. Limits are those of its account."""

    region: Annotated[str, Key(Text("the name of a region"), "Where the key is valid.")]
    key: Annotated[str, Key(KeyReference(), "Where the key is kept; never the key itself.")]
    account: Annotated[
        str | None,
        Key(
            Name(),
            "Upstreams of one account share its limits.",
            default="its own name",
        ),
    ] = None
    workspace: Annotated[
        str,
        Key(
            Workspace(),
            "The key's workspace, whose own host is called; required in frankfurt and tokyo.",
        ),
    ] = ""
    submits_per_second: Annotated[
        float | None,
        Key(
            Number(0),
            "Submits of each model, whatever its own limit is.",
            "per second",
            default="models.NAME.submits",
        ),
    ] = None
    running_tasks: Annotated[
        int | None,
        Key(
            Whole(1),
            "Tasks of each model that run at once, whatever its own limit is.",
            "tasks",
            default="models.NAME.running",
        ),
    ] = None
    polls_per_second: Annotated[
        float | None,
        Key(
            Number(0),
            "Fetch, list and cancel calls of the account.",
            "per second",
            default=f"{_ACCOUNT.polls_per_second:g}",
        ),
    ] = None
    pending_ahead: Annotated[
        int | None,
        Key(
            Whole(0),
            "Tasks of each model submitted beyond those that run, so that no slot is idle.",
            "tasks",
            default=f"{_ACCOUNT.pending_ahead:g}",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class LimitsTable:
    """``[upstreams.NAME.limits."MODEL"]``: the account's own limits of one model"""

    submits: Annotated[
        float | None,
        Key(Rate(), "Submits of this model.", default="upstreams.NAME.submits_per_second"),
    ] = None
    running: Annotated[
        int | None,
        Key(
            Whole(0),
            "Tasks of this model that run at once; 0: any number.",
            "tasks",
            default="upstreams.NAME.running_tasks",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class AccountTable:
    """``[accounts.NAME]``: what holds for all upstreams of one Alibaba account."""

    shared: Annotated[
        bool,
        Key(
            Flag(),
            "true: others use it, too, so a lost submit is not looked up by its prompt.",
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class TenantTable:
    """``[tenants.NAME]``"""

    region: Annotated[
        str | None,
        Key(
            Text("the name of a region"),
            "Where its edits are made.",
            default="that of its first upstream",
        ),
    ] = None
    keys: Annotated[
        tuple[bytes, ...],
        Key(Hashes(), "Hashes of the client's keys.", default="none: required unless open"),
    ] = ()
    open: Annotated[bool, Key(Flag(), "Take any key or none; on loopback only.")] = False
    upstreams: Annotated[
        tuple[str, ...] | None,
        Key(Names(), "Tried in this order.", default="all of its region"),
    ] = None
    fit: Annotated[bool, Key(Flag(), "Bring pictures and sizes into DashScope's rules.")] = (
        _TENANT.fit
    )
    mask: Annotated[
        MaskRule,
        Key(Choice(tuple(MaskRule)), "composite: keep what the mask protects; refuse: 400."),
    ] = _TENANT.mask
    markup: Annotated[
        MarkupRule,
        Key(Choice(tuple(MarkupRule)), "overlay: lay it over the first picture; refuse: 400."),
    ] = _TENANT.markup
    metadata: Annotated[
        MetadataRule,
        Key(Choice(tuple(MetadataRule)), "keep: a picture's Exif, GPS and all, goes upstream."),
    ] = _TENANT.metadata
    strict: Annotated[bool, Key(Flag(), "true: an unknown field is 400.")] = _TENANT.strict
    cut_off_seconds: Annotated[
        float,
        Key(
            Number(0, or_least=True),
            "When a proxy in front cuts the connection; 0: never.",
            "seconds",
        ),
    ] = _TENANT.cut_off_seconds
    keep_alive: Annotated[
        KeepAlive,
        Key(
            Choice(tuple(KeepAlive)),
            "whitespace: 200 and blanks while a task runs, so a later error comes with 200.",
        ),
    ] = _TENANT.keep_alive
    equal_edits: Annotated[
        EqualEdits,
        Key(
            Choice(tuple(EqualEdits)),
            "join: equal requests in flight are one edit, for proxies that stay connected when "
            "their client is gone.",
        ),
    ] = _TENANT.equal_edits
    weight: Annotated[int, Key(Whole(1), "Its share of a busy account.")] = _TENANT.weight
    max_waiting: Annotated[
        int, Key(Whole(0), "Edits in the queue; one more is refused with 429.", "edits")
    ] = _TENANT.max_waiting
    max_running: Annotated[int, Key(Whole(0), "At once; 0: as many as the account.", "tasks")] = (
        _TENANT.max_running
    )


@dataclass(frozen=True, slots=True)
class TenantModelsTable:
    """``[tenants.NAME.models]``: its own choice of what ``[models]`` offers"""

    default: Annotated[
        str | None,
        Key(
            Text("the name of a model"),
            "What its edits without a model get.",
            default="models.default",
        ),
    ] = None
    default_generation: Annotated[
        str | None,
        Key(
            Text("the name of a model"),
            "What its generations without a model get.",
            default="models.default_generation",
        ),
    ] = None
    allow: Annotated[
        tuple[str, ...] | None,
        Key(
            Names('a list of names of models, or of patterns such as "wan2.*"'),
            "DashScope's models that it may use, by whatever name; others are 400.",
            default="all",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole config, checked."""

    source: str
    """The file it came from, or ``environment``."""
    server: ServerConfig
    state: StateConfig
    log: LogConfig
    dashboard: DashboardConfig
    metrics: MetricsConfig
    metrics_token: str | None = field(repr=False)
    """The bearer token that a scraper has to send; ``None``: none."""
    traces: TracesConfig
    traces_headers: Mapping[str, str] = field(repr=False)
    models: ModelTable
    """The built-in ones and those of ``[models."NAME"]``."""
    catalogs: Catalogs
    """Which models clients may request, by operation, unless their tenant says otherwise."""
    regions: Mapping[str, Region]
    accounts: Mapping[str, Account]
    """By name; an account is in one region."""
    upstreams: Mapping[str, Upstream]
    tenants: Mapping[str, Tenant]
    tenant_by_key: Mapping[bytes, str] = field(repr=False)
    """The raw sha256 of a client's key (32 bytes) → its tenant's name."""
    open_tenant: str | None
    """The tenant of requests without a known key; only on loopback."""
    prices: Prices = field(default_factory=dict)
    results: ResultsConfig | None = None
    """``None``: pictures are not kept, and a URL is DashScope's own."""
    cluster: ClusterConfig | None = None
    """``None``: this is the only node."""
    values: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The tables that it was built from, as they were written."""
    abandon: bool = False
    """``serve --abandon``: start although open edits cannot be followed any more."""

    @property
    def shows_tenants(self) -> bool:
        """Whether /metrics has a label for tenants; without a token one could read the others'."""
        return bool(self.metrics.port or self.metrics_token) or len(self.tenants) < 2
