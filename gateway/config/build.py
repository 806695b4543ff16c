"""Build a Config from tables, with the checks that involve more than one key."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from gateway.config.accounts import read_accounts
from gateway.config.cluster import read_cluster
from gateway.config.model_table import read_models
from gateway.config.models import (
    OfferedModels,
    catalogs_of,
    read_offer,
    tenant_catalogs,
)
from gateway.config.prices import read_prices
from gateway.config.regions import (
    BUILT_IN,
    NATIVE_PATH,
    is_alibabas,
    result_hosts_of,
    shared_url,
    workspace_url,
)
from gateway.config.results import read_results
from gateway.config.rules import BaseUrl, Collector, KeyReference, database_url_fault, read, take
from gateway.config.schema import (
    Config,
    DashboardConfig,
    DashboardTable,
    LogConfig,
    MetricsConfig,
    RegionTable,
    ServerConfig,
    StateConfig,
    TenantTable,
    TracesConfig,
    UpstreamTable,
)
from gateway.config.secret import secret
from gateway.config.table import ConfigError, Faults, Table, one_of, shown
from gateway.domain.loopback import is_loopback
from gateway.domain.models import Catalogs, ModelTable
from gateway.domain.price import Prices
from gateway.domain.tenant import Account, Region, Tenant, Upstream

_T = TypeVar("_T")

_TABLES = (
    "server",
    "state",
    "cluster",
    "models",
    "regions",
    "upstreams",
    "accounts",
    "tenants",
    "dashboard",
    "log",
    "metrics",
    "traces",
    "results",
    "prices",
)
_SHORTEST_TOKEN = 16
_TRACES_PACKAGE = "opentelemetry.exporter.otlp.proto.http"
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


def build(source: str, values: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """
    Check *values*, the tables of a config, and join them.

    Raises:
        ConfigError: with a line for each fault. Faults between tables are looked for where the
            tables themselves have none.
    """
    root = Table(source, "", values)
    faults = Faults()
    with faults.gathered():
        root.only(_TABLES)
    with faults.gathered():
        server = _server(root)
    with faults.gathered():
        state = read_state(root.table("state"), environ)
    with faults.gathered():
        shared = bool(root.table("state").values.get("url"))
        cluster = read_cluster(root.table("cluster"), environ, shared_ledger=shared)
    with faults.gathered():
        log = read(LogConfig, root.table("log"))
    with faults.gathered():
        dashboard = read_dashboard(root.table("dashboard"), environ)
    with faults.gathered():
        metrics, metrics_token = _metrics(root.table("metrics"), environ)
    with faults.gathered():
        traces, traces_headers = _traces(root.table("traces"), environ)
    with faults.gathered():
        routing = _routing(root, environ)
    with faults.gathered():
        results = read_results(root.table("results"), environ)
    faults.report()
    config = Config(
        source=source,
        server=server,
        state=state,
        log=log,
        dashboard=dashboard,
        metrics=metrics,
        metrics_token=metrics_token,
        traces=traces,
        traces_headers=traces_headers,
        models=routing.models,
        catalogs=routing.catalogs,
        regions=MappingProxyType(routing.regions),
        accounts=MappingProxyType(
            {up.account.name: up.account for up in routing.upstreams.values()}
        ),
        upstreams=MappingProxyType(routing.upstreams),
        tenants=MappingProxyType(routing.tenants.by_name),
        tenant_by_key=MappingProxyType(routing.tenants.by_key),
        open_tenant=routing.tenants.open,
        prices=routing.prices,
        results=results,
        cluster=cluster,
        values=values,
    )
    refuse_open_to_the_network(config)
    return config


def refuse_open_to_the_network(config: Config) -> None:
    """
    Refuse a tenant without keys off loopback: anyone could spend the operator's money.

    Raises:
        ConfigError: the host is not a loopback address.
    """
    if config.open_tenant is None or is_loopback(config.server.host):
        return
    host = shown(config.server.host)
    what = f"{host} is not a loopback address, and the tenant {config.open_tenant} is open"
    remedy = "give the tenant keys (WAN_GATEWAY_KEY without a file), or use 127.0.0.1"
    raise Table(config.source, "server", {}).wrong("host", what, remedy)


def _server(root: Table) -> ServerConfig:
    table = root.table("server")
    server = read(ServerConfig, table)
    if server.max_bytes_in_flight < server.max_body_bytes:
        what = f"got {server.max_bytes_in_flight}, less than one body of max_body_bytes"
        raise table.wrong("max_bytes_in_flight", what, f"use at least {server.max_body_bytes}")
    return server


def read_state(table: Table, environ: Mapping[str, str]) -> StateConfig:
    """Read ``[state]``, with the URL of the database that it names, if it does."""
    state = read(StateConfig, table)
    if state.url is None:
        return state
    for name in ("path", "sync"):
        if name in table.values:
            what = "is of a local file, and state.url names a database"
            raise table.wrong(name, what, "remove one of them")
    url = state.url
    if url.startswith(("env:", "file:")):
        url = secret(table, "url", url, environ)
        if fault := database_url_fault(url):
            what = f"{shown(state.url)} {fault}"
            raise table.wrong("url", what, "write postgres://USER:PASSWORD@HOST/DATABASE there")
    if not _is_installed("asyncpg"):
        what = "needs a package that is not installed"
        raise table.wrong("url", what, "run pip install 'wan-gateway[cluster]', or remove it")
    return replace(state, url=url)


def read_dashboard(table: Table, environ: Mapping[str, str]) -> DashboardConfig:
    """Read ``[dashboard]``, with its token."""
    values = read(DashboardTable, table)
    if not values.on:
        return DashboardConfig()
    token = None if values.token is None else secret(table, "token", values.token, environ)
    if token is not None and len(token) < _SHORTEST_TOKEN:
        what = f"it has fewer than {_SHORTEST_TOKEN} characters and could be guessed"
        raise table.wrong("token", what, 'make one with "openssl rand -hex 24"')
    return DashboardConfig(on=True, token=token, thumbnails=values.thumbnails)


def _metrics(table: Table, environ: Mapping[str, str]) -> tuple[MetricsConfig, str | None]:
    """Return ``[metrics]``, and the token that a scraper has to send."""
    values = read(MetricsConfig, table)
    if values.host is not None and not values.port:
        raise table.wrong("host", "needs metrics.port", "set port, or remove host")
    return values, None if values.token is None else secret(table, "token", values.token, environ)


def _traces(table: Table, environ: Mapping[str, str]) -> tuple[TracesConfig, Mapping[str, str]]:
    """Return ``[traces]``, and the headers for its collector."""
    values = read(TracesConfig, table.without("headers"))
    given = table.table("headers")
    headers = {name: _header(given, name, environ) for name in given.values}
    if values.endpoint is None:
        return values, MappingProxyType(headers)
    values = replace(values, endpoint=_collector_url(table, values.endpoint, environ))
    if not _is_installed(_TRACES_PACKAGE):
        what = "needs a package that is not installed"
        raise table.wrong("endpoint", what, "run pip install 'wan-gateway[otel]', or remove it")
    return values, MappingProxyType(headers)


def _header(table: Table, name: str, environ: Mapping[str, str]) -> str:
    if not _HEADER.fullmatch(name):
        raise table.wrong(name, "is not a header name", "use letters, digits and -")
    return secret(table, name, take(table, name, KeyReference()), environ, blanks=True)


def _collector_url(table: Table, endpoint: str, environ: Mapping[str, str]) -> str:
    """Return the collector's URL, which may be in an environment variable."""
    if not endpoint.startswith("env:"):
        return endpoint
    url = secret(table, "endpoint", endpoint, environ)
    given = Table(table.source, table.path, {"endpoint": url})
    return str(take(given, "endpoint", BaseUrl(Collector().takes)))


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _regions(table: Table) -> dict[str, Region]:
    given = Table(table.source, table.path, {name: {} for name in BUILT_IN} | dict(table.values))
    return _each(given, _region)


def _region(table: Table) -> Region:
    """Return a region; without a base URL where only workspaces have hosts."""
    name = table.path.rpartition(".")[2]
    values = read(RegionTable, table)
    base_url = values.base_url or shared_url(name)
    if not base_url and name not in BUILT_IN:
        known = [it for it in BUILT_IN if shared_url(it)]
        raise table.wrong("base_url", "is missing", f"only {one_of(known)} have one built in")
    url = urlsplit(base_url)
    if is_alibabas(url.hostname) and url.path != NATIVE_PATH:
        what = f"{shown(url.path)} is not the native API of DashScope"
        raise table.wrong("base_url", what, f'use "{url.scheme}://{url.netloc}{NATIVE_PATH}"')
    hosts = values.result_hosts or result_hosts_of(base_url)
    return Region(name, base_url, hosts, values.previous)


@dataclass(slots=True)
class _Tenants:
    by_name: dict[str, Tenant]
    by_key: dict[bytes, str]
    """The tenant of each hash of a client's key."""
    open: str | None
    """The tenant that takes any key."""


@dataclass(frozen=True, slots=True)
class _Routing:
    """What decides where an edit goes: tables that name each other."""

    models: ModelTable
    catalogs: Catalogs
    regions: dict[str, Region]
    prices: Prices
    upstreams: dict[str, Upstream]
    tenants: _Tenants


def _routing(root: Table, environ: Mapping[str, str]) -> _Routing:
    """
    Read the tables that name each other.

    Raises:
        ConfigError: with every fault inside the tables; if there is none, with every fault
            between them, and in either case with every key that cannot be read.
    """
    tables, secrets, between = Faults(), Faults(), Faults()
    with tables.gathered():
        models, list_prices = read_models(root.table("models"))
        offer = read_offer(root.table("models"), models)
        catalogs = catalogs_of(root.table("models"), offer)
    with tables.gathered():
        regions = _regions(root.table("regions"))
    with tables.gathered():
        of_upstreams = _upstream_values(root.table("upstreams"))
        keys = _upstream_keys(root.table("upstreams"), of_upstreams, environ, secrets)
    with tables.gathered():
        of_tenants = _tenant_values(root.table("tenants"))
    if tables.lines:
        raise ConfigError(*tables.lines, *secrets.lines)
    with between.gathered():
        prices = read_prices(root.table("prices"), regions, models, list_prices)
    with between.gathered():
        _known_regions(root.table("upstreams"), of_upstreams, regions)
        upstream_tables = root.table("upstreams").tables()
        accounts = read_accounts(upstream_tables, of_upstreams, root.table("accounts"), models)
        upstreams = _upstreams(upstream_tables, of_upstreams, regions, accounts, keys)
        tenants = _tenants(root.table("tenants"), of_tenants, regions, upstreams, offer)
    if lines := (*secrets.lines, *between.lines):
        raise ConfigError(*lines)
    return _Routing(models, catalogs, regions, prices, upstreams, tenants)


def _upstream_values(table: Table) -> dict[str, UpstreamTable]:
    """Read each ``[upstreams.NAME]`` by itself."""
    return _each(table, lambda one: read(UpstreamTable, one.without("limits")))


def _tenant_values(table: Table) -> dict[str, TenantTable]:
    """Read each ``[tenants.NAME]`` by itself."""
    return _each(table, lambda one: read(TenantTable, one.without("models")))


def _each(table: Table, make: Callable[[Table], _T]) -> dict[str, _T]:
    """
    Make something of each table in *table*, by its name.

    Raises:
        ConfigError: with the faults of all of them.
    """
    faults = Faults()
    made = {}
    for name, one in table.tables().items():
        with faults.gathered():
            made[name] = make(one)
    faults.report()
    return made


def _upstream_keys(
    table: Table,
    values: Mapping[str, UpstreamTable],
    environ: Mapping[str, str],
    faults: Faults,
) -> dict[str, str]:
    """Return the key of each upstream, without those that add to *faults*."""
    keys: dict[str, str] = {}
    for name, one in table.tables().items():
        with faults.gathered():
            key = secret(one, "key", values[name].key, environ)
            _refuse_second_account(one, name, key, values, keys)
            keys[name] = key
    return keys


def _refuse_second_account(
    table: Table,
    name: str,
    key: str,
    values: Mapping[str, UpstreamTable],
    keys: Mapping[str, str],
) -> None:
    """
    Refuse one DashScope key under two accounts: each would think the other's tasks foreign.

    A submit whose answer is lost is resolved by the account's task list, among the tasks that
    the account knows; and the limits of one account would be used twice (P5).
    """
    own = values[name]
    for other, its_key in keys.items():
        one = values[other]
        if its_key == key and one.region == own.region:
            account = one.account or other
            if (own.account or name) != account:
                what = f"is the key of upstreams.{other}, which is of the account {account}"
                remedy = f'set account = "{account}" here, or use another key'
                raise table.wrong("key", what, remedy)


def _known_regions(
    table: Table,
    values: Mapping[str, UpstreamTable],
    regions: Mapping[str, Region],
) -> None:
    """Refuse upstreams in unknown regions, and having none at all."""
    if not table.values:
        raise table.wrong("", "is empty", "add [upstreams.NAME] with a region and a key")
    faults = Faults()
    for name, one in table.tables().items():
        with faults.gathered():
            _known_region(one, values[name].region, regions)
    faults.report()


def _upstreams(
    tables: Mapping[str, Table],
    values: Mapping[str, UpstreamTable],
    regions: Mapping[str, Region],
    accounts: Mapping[str, Account],
    keys: Mapping[str, str],
) -> dict[str, Upstream]:
    """Return the upstreams; one without a key in *keys* is a fault that is already known."""
    return {
        name: Upstream(
            name=name,
            region=_region_of(tables[name], one, regions[one.region]),
            account=accounts[one.account or name],
            key=keys.get(name, ""),
            workspace=one.workspace,
        )
        for name, one in values.items()
    }


def _region_of(table: Table, values: UpstreamTable, region: Region) -> Region:
    """Return the region as an upstream calls it: by the host of its workspace, if it has one."""
    if values.workspace and region.base_url == shared_url(region.name):
        # Tasks made at the shared host can be fetched at the workspace's.
        previous = (region.base_url, *region.previous) if region.base_url else region.previous
        base_url = workspace_url(region.name, values.workspace)
        return replace(region, base_url=base_url, previous=previous)
    if not region.base_url:
        what = f"is missing: in {region.name} only workspaces have hosts"
        raise table.wrong("workspace", what, "use the id of the key's workspace, llm-…")
    return region


def _known_region(table: Table, region: str, regions: Iterable[str]) -> None:
    if region not in regions:
        raise table.wrong("region", f"{shown(region)} is not a region", f"use {one_of(regions)}")


def _tenants(
    table: Table,
    values: Mapping[str, TenantTable],
    regions: Mapping[str, Region],
    upstreams: Mapping[str, Upstream],
    offer: OfferedModels,
) -> _Tenants:
    if not table.values:
        remedy = 'add [tenants.NAME]; "wan-gateway key --tenant NAME" prints one'
        raise table.wrong("", "is empty", remedy)
    tenants = _Tenants({}, {}, None)
    faults = Faults()
    for name, one in table.tables().items():
        own = values[name]
        with faults.gathered():
            tenants.by_name[name] = _tenant(one, name, own, regions, upstreams, offer)
        with faults.gathered():
            if own.open:
                tenants.open = _only_open(one, name, own, tenants.open)
            elif not own.keys:
                remedy = f'"wan-gateway key --tenant {name}" prints the line'
                raise one.wrong("keys", "is missing", remedy)
            _claim(one, name, own.keys, tenants.by_key)
    faults.report()
    return tenants


def _first_region(values: TenantTable, upstreams: Mapping[str, Upstream]) -> str:
    """Return the region of a tenant without the key ``region``."""
    own = [upstreams[name] for name in values.upstreams or () if name in upstreams]
    return next(iter([*own, *upstreams.values()])).region.name


def _only_open(table: Table, name: str, values: TenantTable, other: str | None) -> str:
    if values.keys:
        raise table.wrong("open", "an open tenant takes any key", "remove keys, or open")
    if other is not None:
        raise table.wrong("open", f"tenants.{other} is open too", "give one of them keys")
    return name


def _claim(table: Table, name: str, keys: Iterable[bytes], tenant_by_key: dict[bytes, str]) -> None:
    for index, key in enumerate(keys, start=1):
        owner = tenant_by_key.setdefault(key, name)
        if owner != name:
            what = f"entry {index} is a key of tenants.{owner} too"
            raise table.wrong("keys", what, "a key belongs to one tenant: make another")


def _tenant(
    table: Table,
    name: str,
    values: TenantTable,
    regions: Mapping[str, Region],
    upstreams: Mapping[str, Upstream],
    offer: OfferedModels,
) -> Tenant:
    region = values.region or _first_region(values, upstreams)
    _known_region(table, region, regions)
    own = _own_upstreams(table, values, region, upstreams)
    catalogs = tenant_catalogs(table.table("models"), offer, region)
    shared = {field.name for field in fields(Tenant)} & {field.name for field in fields(values)}
    same_names = {key: getattr(values, key) for key in shared - {"region", "upstreams"}}
    return Tenant(name=name, region=region, upstreams=own, catalogs=catalogs, **same_names)


def _own_upstreams(
    table: Table, values: TenantTable, region: str, upstreams: Mapping[str, Upstream]
) -> tuple[Upstream, ...]:
    local = {name: up for name, up in upstreams.items() if up.region.name == region}
    if not local:
        remedy = f'add [upstreams.NAME] with region = "{region}"'
        raise table.wrong("region", f"no upstream is in {region}", remedy)
    for name in values.upstreams or ():
        if name not in upstreams:
            raise table.wrong(
                "upstreams", f"{shown(name)} is not an upstream", f"use {one_of(local)}"
            )
        if name not in local:
            what = f"{name} is in {upstreams[name].region.name}, the tenant in {region}"
            raise table.wrong("upstreams", what, f"use {one_of(local)}")
    return tuple(local[name] for name in values.upstreams or local)
