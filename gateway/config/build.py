"""From the tables of a config to Config: the rules that hold across tables live here."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from gateway.config.cluster import read_cluster
from gateway.config.models import catalogs_of, read_prices
from gateway.config.rules import BaseUrl, Collector, KeyReference, read, take
from gateway.config.schema import (
    AccountTable,
    Config,
    Dashboard,
    DashboardTable,
    Log,
    Metrics,
    RegionTable,
    Server,
    State,
    TenantTable,
    Traces,
    UpstreamTable,
)
from gateway.config.secret import secret
from gateway.config.table import Table, one_of, shown
from gateway.domain.loopback import is_loopback
from gateway.domain.tenant import Account, Region, Tenant, Upstream

BASE_URLS = MappingProxyType(
    {
        "beijing": "https://dashscope.aliyuncs.com/api/v1",
        "singapore": "https://dashscope-intl.aliyuncs.com/api/v1",
    }
)
_ALIYUN = "aliyuncs.com"
_NATIVE = "/api/v1"
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
    "prices",
)
_SHORTEST_TOKEN = 16
_TRACES_PACKAGE = "opentelemetry.exporter.otlp.proto.http"
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_LIMITS = ("submits_per_second", "running_tasks", "polls_per_second", "pending_ahead")


def build(source: str, values: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """
    Check *values*, the tables of a config, and join them.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    root = Table(source, "", values)
    root.only(_TABLES)
    server = _server(root)
    state = read(State, root.table("state"))
    cluster = read_cluster(root.table("cluster"), environ, shared_ledger=False)
    log = read(Log, root.table("log"))
    dashboard = read_dashboard(root.table("dashboard"), environ)
    metrics, metrics_token = _metrics(root.table("metrics"), environ)
    traces, traces_headers = _traces(root.table("traces"), environ)
    catalogs = catalogs_of(root.table("models"))
    regions = _regions(root.table("regions"))
    prices = read_prices(root.table("prices"), regions)
    upstreams = _upstreams(root.table("upstreams"), root.table("accounts"), regions, environ)
    tenants, tenant_by_key, open_tenant = _tenants(root.table("tenants"), regions, upstreams)
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
        catalogs=catalogs,
        regions=MappingProxyType(regions),
        accounts=MappingProxyType({up.account.name: up.account for up in upstreams.values()}),
        upstreams=MappingProxyType(upstreams),
        tenants=MappingProxyType(tenants),
        tenant_by_key=MappingProxyType(tenant_by_key),
        open_tenant=open_tenant,
        prices=prices,
        cluster=cluster,
    )
    refuse_open_to_the_network(config)
    return config


def refuse_open_to_the_network(config: Config) -> None:
    """
    Keep a tenant without keys on loopback: whoever reaches it spends the operator's money.

    Raises:
        ConfigError: anyone on the network could.
    """
    if config.open_tenant is None or is_loopback(config.server.host):
        return
    host = shown(config.server.host)
    what = f"{host} is not a loopback address, and the tenant {config.open_tenant} is open"
    remedy = "give the tenant keys (WAN_GATEWAY_KEY without a file), or use 127.0.0.1"
    raise Table(config.source, "server", {}).wrong("host", what, remedy)


def _server(root: Table) -> Server:
    table = root.table("server")
    server = read(Server, table)
    if server.max_bytes_in_flight < server.max_body_bytes:
        what = f"got {server.max_bytes_in_flight}, less than one body of max_body_bytes"
        raise table.wrong("max_bytes_in_flight", what, f"use at least {server.max_body_bytes}")
    return server


def read_dashboard(table: Table, environ: Mapping[str, str]) -> Dashboard:
    """Read ``[dashboard]``, with its token."""
    said = read(DashboardTable, table)
    if not said.on:
        return Dashboard()
    token = None if said.token is None else secret(table, "token", said.token, environ)
    if token is not None and len(token) < _SHORTEST_TOKEN:
        what = f"it has fewer than {_SHORTEST_TOKEN} characters and could be guessed"
        raise table.wrong("token", what, 'make one by "openssl rand -hex 24"')
    return Dashboard(on=True, token=token, thumbnails=said.thumbnails)


def _metrics(table: Table, environ: Mapping[str, str]) -> tuple[Metrics, str | None]:
    """Return where metrics are read, and what a scraper has to present."""
    said = read(Metrics, table)
    if said.host is not None and not said.port:
        raise table.wrong("host", "there is not a port of its own", "set port, or remove host")
    return said, None if said.token is None else secret(table, "token", said.token, environ)


def _traces(table: Table, environ: Mapping[str, str]) -> tuple[Traces, Mapping[str, str]]:
    """Return where traces go and how many, and the headers that go with them."""
    plain = {key: value for key, value in table.values.items() if key != "headers"}
    said = read(Traces, Table(table.source, table.path, plain))
    given = table.table("headers")
    headers = {name: _header(given, name, environ) for name in given.values}
    if said.endpoint is None:
        return said, MappingProxyType(headers)
    said = replace(said, endpoint=_collector_url(table, said.endpoint, environ))
    if not _can_export_traces():
        what = "needs what is not installed"
        raise table.wrong("endpoint", what, "run pip install 'wan-gateway[otel]', or remove it")
    return said, MappingProxyType(headers)


def _header(table: Table, name: str, environ: Mapping[str, str]) -> str:
    if not _HEADER.fullmatch(name):
        raise table.wrong(name, "is not a header name", "use letters, digits and -")
    return secret(table, name, take(table, name, KeyReference()), environ, blanks=True)


def _collector_url(table: Table, endpoint: str, environ: Mapping[str, str]) -> str:
    """Return the collector's URL, which a variable such as OTEL's own may hold."""
    if not endpoint.startswith("env:"):
        return endpoint
    url = secret(table, "endpoint", endpoint, environ)
    given = Table(table.source, table.path, {"endpoint": url})
    return str(take(given, "endpoint", BaseUrl(Collector().takes)))


def _can_export_traces() -> bool:
    try:
        return find_spec(_TRACES_PACKAGE) is not None
    except ModuleNotFoundError:
        return False


def _regions(table: Table) -> dict[str, Region]:
    given = {name: Table(table.source, f"regions.{name}", {}) for name in BASE_URLS}
    return {name: _region(name, one) for name, one in (given | table.tables()).items()}


def _region(name: str, table: Table) -> Region:
    said = read(RegionTable, table)
    base_url = said.base_url or BASE_URLS.get(name)
    if base_url is None:
        raise table.wrong("base_url", "is missing", f"only {one_of(BASE_URLS)} have one built in")
    url = urlsplit(base_url)
    if _is_alibabas(url.hostname) and url.path != _NATIVE:
        what = f"{shown(url.path)} is not the native API of DashScope"
        raise table.wrong("base_url", what, f'use "{url.scheme}://{url.netloc}{_NATIVE}"')
    hosts = said.result_hosts or _result_hosts(base_url)
    return Region(name, base_url, hosts, said.previous)


def _is_alibabas(host: str | None) -> bool:
    return f".{host}".endswith(f".{_ALIYUN}")


def _result_hosts(base_url: str) -> tuple[str, ...]:
    """Aliyun's storage; and a sandbox, which serves its results itself."""
    url = urlsplit(base_url)
    own = () if _is_alibabas(url.hostname) else (url.netloc,)
    return (f"*.{_ALIYUN}", *own)


def _upstreams(
    table: Table, of_accounts: Table, regions: Mapping[str, Region], environ: Mapping[str, str]
) -> dict[str, Upstream]:
    if not table.values:
        raise table.wrong("", "is empty", "add [upstreams.NAME] with a region and a key")
    tables = table.tables()
    said = {name: read(UpstreamTable, one) for name, one in tables.items()}
    for name, one in tables.items():
        _known_region(one, said[name].region, regions)
    accounts = _with_tables(_accounts(tables, said), of_accounts)
    return {
        name: Upstream(
            name=name,
            region=regions[one.region],
            account=accounts[one.account or name],
            key=secret(tables[name], "key", one.key, environ),
        )
        for name, one in said.items()
    }


def _known_region(table: Table, region: str, regions: Iterable[str]) -> None:
    if region not in regions:
        raise table.wrong("region", f"{shown(region)} is not a region", f"use {one_of(regions)}")


def _accounts(tables: Mapping[str, Table], said: Mapping[str, UpstreamTable]) -> dict[str, Account]:
    """Join what the upstreams of one account say of its limits: once, or alike."""
    first_of: dict[str, str] = {}
    limits: dict[str, dict[str, tuple[str, float]]] = {}
    for name, one in said.items():
        account = one.account or name
        first = first_of.setdefault(account, name)
        if one.region != said[first].region:
            what = f"{shown(account)} is in {said[first].region} by upstreams.{first}"
            remedy = f'name it apart by region, such as "{account}-{one.region}"'
            raise tables[name].wrong("account", what, remedy)
        stated = limits.setdefault(account, {})
        for limit in _LIMITS:
            value = getattr(one, limit)
            if value is None:
                continue
            by, agreed = stated.setdefault(limit, (name, value))
            if agreed != value:
                what = f"got {value:g}, but upstreams.{by} of the same account says {agreed:g}"
                raise tables[name].wrong(limit, what, "say it once, or alike")
    return {
        account: _account(account, said[first].region, limits[account])
        for account, first in first_of.items()
    }


def _with_tables(accounts: dict[str, Account], table: Table) -> dict[str, Account]:
    """Add what ``[accounts.NAME]`` says."""
    for name, one in table.tables().items():
        if name not in accounts:
            raise one.wrong("", "is not an account of an upstream", f"use {one_of(accounts)}")
        accounts[name] = replace(accounts[name], shared=read(AccountTable, one).shared)
    return accounts


def _account(name: str, region: str, stated: Mapping[str, tuple[str, Any]]) -> Account:
    return Account(name, region, **{limit: value for limit, (_, value) in stated.items()})


def _tenants(
    table: Table, regions: Mapping[str, Region], upstreams: Mapping[str, Upstream]
) -> tuple[dict[str, Tenant], dict[bytes, str], str | None]:
    if not table.values:
        remedy = 'add [tenants.NAME]; "wan-gateway key --tenant NAME" prints one'
        raise table.wrong("", "is empty", remedy)
    tenants: dict[str, Tenant] = {}
    tenant_by_key: dict[bytes, str] = {}
    open_tenant: str | None = None
    for name, one in table.tables().items():
        said = read(TenantTable, one)
        region = said.region or _first_region(said, upstreams)
        _known_region(one, region, regions)
        tenants[name] = _tenant(name, one, said, region, upstreams)
        if said.open:
            open_tenant = _only_open(one, name, said, open_tenant)
        elif not said.keys:
            remedy = f'"wan-gateway key --tenant {name}" prints the line'
            raise one.wrong("keys", "is missing", remedy)
        _claim(one, name, said.keys, tenant_by_key)
    return tenants, tenant_by_key, open_tenant


def _first_region(said: TenantTable, upstreams: Mapping[str, Upstream]) -> str:
    """Return the region of a tenant that names none."""
    own = [upstreams[name] for name in said.upstreams or () if name in upstreams]
    return next(iter([*own, *upstreams.values()])).region.name


def _only_open(table: Table, name: str, said: TenantTable, other: str | None) -> str:
    if said.keys:
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
    name: str, table: Table, said: TenantTable, region: str, upstreams: Mapping[str, Upstream]
) -> Tenant:
    own = _own_upstreams(table, said, region, upstreams)
    shared = {field.name for field in fields(Tenant)} & {field.name for field in fields(said)}
    as_said = {key: getattr(said, key) for key in shared - {"region", "upstreams"}}
    return Tenant(name=name, region=region, upstreams=own, **as_said)


def _own_upstreams(
    table: Table, said: TenantTable, region: str, upstreams: Mapping[str, Upstream]
) -> tuple[Upstream, ...]:
    local = {name: up for name, up in upstreams.items() if up.region.name == region}
    if not local:
        remedy = f'add [upstreams.NAME] with region = "{region}"'
        raise table.wrong("region", f"no upstream is in {region}", remedy)
    for name in said.upstreams or ():
        if name not in upstreams:
            raise table.wrong(
                "upstreams", f"{shown(name)} is not an upstream", f"use {one_of(local)}"
            )
        if name not in local:
            what = f"{name} is in {upstreams[name].region.name}, the tenant in {region}"
            raise table.wrong("upstreams", what, f"use {one_of(local)}")
    return tuple(local[name] for name in said.upstreams or local)
