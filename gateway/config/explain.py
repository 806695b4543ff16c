"""Explain a config in words, for ``wan-gateway check``; keys are never shown (P13)."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.config.regions import BUILT_IN
from gateway.config.rules import database_hosts
from gateway.config.schema import (
    ClusterConfig,
    Config,
    DashboardConfig,
    ResultsConfig,
    ServerConfig,
    StateConfig,
)
from gateway.domain.loopback import is_loopback
from gateway.domain.models import Catalog, ModelLimits, Operation, is_openai_model
from gateway.domain.price import Price
from gateway.domain.tenant import Account, KeepAlive, MarkupRule, MaskRule, MetadataRule, Tenant

_MIB = 1024 * 1024


def explain(config: Config) -> str:
    """Return text that says what the gateway does with *config*."""
    parts = [
        [f"{config.source} is good."],
        list(_process(config)),
        *([*_region(config, name)] for name in _used_regions(config)),
        [_tenant(config, tenant) for tenant in config.tenants.values()],
        [f"warning: {warning}" for warning in warnings(config)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _process(config: Config) -> Iterator[str]:
    server = config.server
    state = config.state
    log = config.log
    one = server.max_body_bytes / _MIB
    all_bodies = server.max_bytes_in_flight / _MIB
    yield f"listens   on {_address(server.host)}:{server.port}"
    yield f"reads     bodies of up to {one:g} MiB, {all_bodies:g} MiB of them at once"
    yield f"waits     up to {server.max_wait_seconds:g} s for an edit"
    yield f"drains    for up to {server.drain_seconds:g} s after SIGTERM"
    yield f"remembers {_ledger(state)}"
    if config.cluster is not None:
        cluster = config.cluster
        yield (
            f"shares    with other nodes: it is {cluster.node} at {cluster.url}, "
            f"leases of {cluster.lease_seconds:g} s"
        )
    if server.cors_origins:
        yield f"lets      scripts of {', '.join(server.cors_origins)} call"
    yield f"metrics   {_metrics(config)}"
    if config.traces.endpoint:
        share = "" if config.traces.sample is None else f" {100 * config.traces.sample:g} % of"
        yield f"traces   {share} edits to {config.traces.endpoint}"
    if config.results is not None:
        yield f"keeps     {_results(config.results)}"
    if config.dashboard.on:
        yield f"shows     a live page at /dashboard, to {_watchers(config.dashboard)}"
    yield f"logs      from {log.level} on, format {log.format}"
    yield f"edits     by {_models(config.catalogs[Operation.EDIT])}"
    yield f"generates by {_models(config.catalogs[Operation.GENERATE])}"


def _models(catalog: Catalog) -> str:
    """List the models, the default first, each with its other names."""
    default = catalog.models[catalog.default].name
    called: dict[str, list[str]] = {default: ["any of OpenAI's names of image models"]}
    for name, model in catalog.models.items():
        named = name == model.name or (model.name == default and is_openai_model(name))
        called.setdefault(model.name, []).extend([] if named else [name])
    return "; ".join(
        f"{model}, also called {', '.join(names)}" if names else model
        for model, names in called.items()
    )


def _metrics(config: Config) -> str:
    metrics = config.metrics
    whom = "for holders of the token" if config.metrics_token else "for anyone"
    host = _address(metrics.host or config.server.host)
    if metrics.port:
        return f"on {host}:{metrics.port}, {whom}"
    if not config.shows_tenants:
        whom += ", tenants added up: to see each, set metrics.token or metrics.port"
    return f"with the rest, {whom}"


def _results(results: ResultsConfig) -> str:
    where = results.store.removeprefix("folder:")
    at = "the request's Host" if results.public_url == "host" else results.public_url
    return f"pictures answered by URL in {where} for {results.keep_hours:g} h, at {at}"


def _watchers(dashboard: DashboardConfig) -> str:
    who = "holders of its token" if dashboard.token else "this machine alone"
    return f"{who}, with small pictures" if dashboard.thumbnails else who


def _address(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _ledger(state: StateConfig) -> str:
    if state.url is not None:
        name = urlsplit(state.url).path.strip("/")
        hosts = ", ".join(database_hosts(state.url))
        return f"edits in the PostgreSQL database {name} at {hosts}"
    if state.path == "memory":
        return "edits until it exits"
    survives = "a loss of power" if state.sync == "full" else "SIGKILL"
    return f"edits in {state.path}, which survives {survives}"


def _used_regions(config: Config) -> list[str]:
    used = {upstream.region.name for upstream in config.upstreams.values()}
    return [name for name in config.regions if name in used]


def _region(config: Config, name: str) -> Iterator[str]:
    region = config.regions[name]
    urls = [up.region.base_url for up in config.upstreams.values() if up.region.name == name]
    hosts = ", ".join(region.result_hosts)
    yield f"region {name}: {', '.join(dict.fromkeys(urls))}, results from {hosts}"
    for account in config.accounts.values():
        if account.region == name:
            keys = [up.name for up in config.upstreams.values() if up.account is account]
            calls = f"{account.polls_per_second:g} polls/s"
            shared = ", shared with others" if account.shared else ""
            yield f"  account {account.name}: {calls}{shared}; keys {', '.join(keys)}"
            yield from _limits(config, account)
    yield from _prices(config, name)


def _limits(config: Config, account: Account) -> Iterator[str]:
    """Yield what the account may do with the models of its region; those alike on one line."""
    alike: dict[str, list[str]] = {}
    for name in _models_in(config, account.region):
        limit = _limit(account.limits_of(name), account.pending_ahead)
        alike.setdefault(limit, []).append(name)
    for limit, models in alike.items():
        yield f"    {limit}: {', '.join(models)}"


def _models_in(config: Config, region: str) -> Iterator[str]:
    for model in config.models.by_name.values():
        if not model.regions or region not in BUILT_IN or region in model.regions:
            yield model.name


def _prices(config: Config, region: str) -> Iterator[str]:
    """Yield what the models of a region cost; those alike on one line."""
    alike: dict[str, list[str]] = {}
    for name in _models_in(config, region):
        price = config.prices.get((region, name))
        alike.setdefault("not known" if price is None else _price(price), []).append(name)
    yield "  a picture costs"
    for price_, models in alike.items():
        yield f"    {price_}: {', '.join(models)}"


def _price(price: Price) -> str:
    def amount(of: float) -> str:
        return f"{of:.6g} {price.currency}"

    words = [amount(price.picture)]
    if price.large_picture is not None:
        words.append(f"{amount(price.large_picture)} above {price.large_pixels} pixels")
    if price.extended_picture is not None:
        words.append(f"{amount(price.extended_picture)} with prompt_extend")
    if price.input_picture:
        words.append(f"and {amount(price.input_picture)} for each put in")
    return ", ".join(words)


def _limit(limits: ModelLimits, ahead: int) -> str:
    rate = limits.submits_per_second
    submits = f"{rate:g} submits/s" if rate >= 1 else f"{60 * rate:g} submits/min"
    running = limits.running_tasks
    return f"{submits}, {running} running and {ahead} ahead" if running else submits


def _tenant(config: Config, tenant: Tenant) -> str:
    keys = sum(owner == tenant.name for owner in config.tenant_by_key.values())
    says = [
        "any key" if tenant.name == config.open_tenant else f"{keys} key{'s' * (keys != 1)}",
        f"{tenant.region} by {', '.join(up.name for up in tenant.upstreams)}",
        "pictures are fitted" if tenant.fit else "pictures are refused unless they fit",
        *(["metadata of pictures goes upstream"] if _keeps(tenant) else []),
        "masks are kept" if tenant.mask is MaskRule.COMPOSITE else "masks are refused",
        *(["markups are refused"] if tenant.markup is MarkupRule.REFUSE else []),
        "unknown fields are refused" if tenant.strict else "unknown fields are ignored",
        f"weight {tenant.weight}",
        f"{tenant.max_waiting} may wait",
        f"{tenant.max_running or 'as many as the account'} may run",
    ]
    if tenant.catalogs != config.catalogs:
        says += _choice(config, tenant)
    if tenant.cut_off_seconds:
        says.append(f"answered before its proxy cuts at {tenant.cut_off_seconds:g} s")
    if tenant.keep_alive is KeepAlive.WHITESPACE:
        says.append("blanks are sent while a task runs")
    return f"tenant {tenant.name}: {'; '.join(says)}"


def _choice(config: Config, tenant: Tenant) -> Iterator[str]:
    """Yield which of the models a tenant may use, where it is not all of them as they are."""
    for operation, verb in ((Operation.EDIT, "edits"), (Operation.GENERATE, "generates")):
        catalog = tenant.catalogs[operation]
        models = dict.fromkeys(model.name for model in catalog.models.values())
        if not models:
            yield f"no model {verb}"
        elif catalog.models != config.catalogs[operation].models:
            first = [catalog.default]
            yield f"{verb} by {', '.join([*first, *sorted(models.keys() - first)])}"


def _keeps(tenant: Tenant) -> bool:
    return tenant.metadata is MetadataRule.KEEP


def warnings(config: Config) -> Iterator[str]:
    """Yield a line for each setting that is valid but probably not intended."""
    if config.state.path == "memory":
        yield 'with state.path = "memory" a restart forgets edits that were paid for'
    if config.results is not None:
        url = urlsplit(config.results.public_url)
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            yield "pictures and the URLs that open them travel unencrypted: public_url is http"
    if config.cluster is not None:
        yield from _cluster_warnings(config.cluster, config.server)
    for name in _used_regions(config):
        url = urlsplit(config.regions[name].base_url)
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            yield f"keys of {name} travel unencrypted: its base_url is http"
        if not url.path.endswith("/api/v1"):
            yield (
                f"regions.{name}.base_url does not end in /api/v1, as DashScope's native API "
                "does: check that the server there adds it"
            )
    used = {up.name for tenant in config.tenants.values() for up in tenant.upstreams}
    for name in config.upstreams:
        if name not in used:
            yield f"no tenant uses the upstream {name}"


def _cluster_warnings(cluster: ClusterConfig, server: ServerConfig) -> Iterator[str]:
    url = urlsplit(cluster.url)
    if is_loopback(url.hostname or ""):
        return
    if is_loopback(server.host):
        yield f"no other node reaches cluster.url: server.host is {server.host}"
    if url.scheme == "http":
        yield "requests between nodes travel unencrypted: cluster.url is http"
