"""``wan-gateway doctor``: do the upstream keys, the database, the nodes work? Costs nothing."""

import asyncio
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from importlib import import_module
from urllib.parse import urlsplit

import httpx

from gateway.commands.doctor_advice import (
    about_certificates,
    about_clock,
    advice_on,
    is_not_opened,
)
from gateway.config import Config, load_config_to_run
from gateway.config.proxies import proxy_variable
from gateway.domain.clock import Clock, SystemClock
from gateway.domain.loopback import is_loopback
from gateway.domain.tenant import Region, Upstream
from gateway.ledger.errors import LedgerError
from gateway.ledger.nodes import NodeStatus
from gateway.upstream.submission import body_of
from gateway.upstream.transport import AiohttpTransport

_TIMEOUT_SECONDS = 10.0
"""For one probe; a list call normally takes well under a second."""
# DashScope's codes are dotted words; anything else is not printed.
_CODE = re.compile(r"[A-Za-z0-9_.]{1,64}")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one upstream, of the database, or of a node."""

    upstream: str
    region: str
    healthy: bool
    says: str
    ahead: float = 0.0
    """Seconds by which this machine's clock is ahead of DashScope's, as far as is known."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """What one free call found."""

    says: str
    """``ok``, or what is wrong."""
    code: str = ""
    """DashScope's, if it sent one."""
    ahead: float = 0.0


def run(
    args: Namespace,
    environ: Mapping[str, str],
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
) -> int:
    """
    Print one row for each upstream, the database and each node; return 0 if all are healthy.

    Args:
        args: The command line: ``config``.
        environ: Where the keys are.
        transport: Carries the calls; a test passes its own.
        clock: This machine's, which is compared with DashScope's; a test passes its own.
    """
    config = load_config_to_run(args.config, environ)
    findings = [
        replace(found, says=found.says + _by_proxy(config, found, environ))
        for found in asyncio.run(examine(config, transport, clock or SystemClock()))
    ]
    if config.state.url is not None:
        findings += _ledger(config, config.state.url)
    print(_table([("UPSTREAM", "REGION", ""), *((f.upstream, f.region, f.says) for f in findings)]))
    if wrong := next(filter(None, (about_clock(finding.ahead) for finding in findings)), ""):
        print(f"\nwarning: {wrong}.")
    return 0 if all(finding.healthy for finding in findings) else 1


def _ledger(config: Config, url: str) -> list[Finding]:
    """Ask the database of the ledger, also which nodes of the cluster it knows."""
    reading = import_module("gateway.ledger.postgres_reading")
    try:
        found = [Finding("state.url", "", healthy=True, says=str(reading.describe(url)))]
        if config.cluster is None:
            return found
        return found + _nodes(config, reading.read_nodes(url))
    except LedgerError as error:
        return [Finding("state.url", "", healthy=False, says=str(error))]


def _nodes(config: Config, nodes: list[NodeStatus]) -> list[Finding]:
    """Compare what the nodes say of themselves; before the first start there are none."""
    if not nodes:
        return [Finding("cluster", "", healthy=True, says="no node runs yet")]
    own = str(import_module("gateway.cluster.assembly").shared_config(config))
    found = [_node(node, own) for node in nodes]
    owned = {name for node in nodes for name in node.owned}
    accounts = {upstream.account.name for upstream in config.upstreams.values()}
    if unowned := sorted(accounts - owned):
        says = f"no node owns {', '.join(unowned)}: its edits wait until one does"
        found.append(Finding("cluster", "", healthy=False, says=says))
    return found


def _node(node: NodeStatus, config: str) -> Finding:
    faults = []
    if not node.lives:
        faults.append(f"not seen for {node.silent:.0f} s: it has died, or lost the database")
    elif node.config != config:
        faults.append("its config differs from this one")
    owns = f"owns {', '.join(node.owned)}" if node.owned else "owns no account"
    drains = [] if node.takes else ["drains"]
    says = ", ".join([node.url, f"version {node.version}", owns, *drains])
    return Finding(f"node {node.node}", "", healthy=not faults, says="; ".join([says, *faults]))


async def examine(
    config: Config, transport: httpx.AsyncBaseTransport | None, clock: Clock
) -> list[Finding]:
    """Probe every upstream of *config* at once, in its order."""
    async with (
        httpx.AsyncClient(
            transport=transport or _gateway_transport(), timeout=_TIMEOUT_SECONDS
        ) as http,
        asyncio.TaskGroup() as group,
    ):
        probes = [
            group.create_task(_examine(http, clock, upstream, config))
            for upstream in config.upstreams.values()
        ]
    return [probe.result() for probe in probes]


def _gateway_transport() -> httpx.AsyncBaseTransport:
    """Return the transport that the gateway uses, so that both meet the same network."""
    return AiohttpTransport(keep_alive=_TIMEOUT_SECONDS, ssl_context=httpx.create_ssl_context)


async def _examine(
    http: httpx.AsyncClient, clock: Clock, upstream: Upstream, config: Config
) -> Finding:
    found = await _probe(http, clock, upstream.region, upstream.key)
    says = found.says
    if says.startswith("key refused"):
        others = [
            region
            for region in config.regions.values()
            if region.base_url and region != upstream.region
        ]
        says += await _elsewhere(http, clock, upstream.key, others)
    faults = [] if says == "ok" else [says + advice_on(found.code)]
    if not faults:
        for model in _usual_models(config, upstream):
            probe = await _probe(http, clock, upstream.region, upstream.key, model)
            if is_not_opened(probe.code):
                faults.append(f"{model} refused ({probe.code}){advice_on(probe.code)}")
    return Finding(
        upstream.name, upstream.region.name, not faults, "; ".join(faults) or "ok", found.ahead
    )


def _usual_models(config: Config, upstream: Upstream) -> list[str]:
    """Return the models that the tenants of *upstream* get if they name none."""
    catalogs = [
        catalog
        for tenant in config.tenants.values()
        if upstream in tenant.upstreams
        for catalog in tenant.catalogs.values()
        if catalog.default in catalog.models
    ]
    return sorted({catalog.models[catalog.default].name for catalog in catalogs})


async def _elsewhere(
    http: httpx.AsyncClient, clock: Clock, key: str, regions: Iterable[Region]
) -> str:
    """Return where else the key is valid: a key belongs to one region and is easily mixed up."""
    for region in regions:
        if not _is_safe_for_keys(region.base_url):
            continue
        if (await _probe(http, clock, region, key)).says == "ok":
            return f"; valid in {region.name}"
    return ""


def _is_safe_for_keys(base_url: str) -> bool:
    """Return whether a key may be sent there to try it: over TLS, or on this machine."""
    url = urlsplit(base_url)
    return url.scheme == "https" or is_loopback(url.hostname or "")


async def _probe(
    http: httpx.AsyncClient, clock: Clock, region: Region, key: str, model: str = ""
) -> _Probe:
    """List one task, or ask where a picture for *model* could be uploaded; both are free."""
    path, params = "tasks", {"page_no": "1", "page_size": "1"}
    if model:
        path, params = "uploads", {"action": "getPolicy", "model": model}
    try:
        answer = await http.get(
            f"{region.base_url}/{path}", params=params, headers={"authorization": f"Bearer {key}"}
        )
    except httpx.TimeoutException:
        return _Probe(f"unreachable: no answer in {_TIMEOUT_SECONDS:g} s")
    except httpx.RequestError as error:
        why = str(error) or type(error).__name__
        return _Probe(f"unreachable: {why}{about_certificates(why)}")
    return _Probe(_verdict(answer), _code(answer), _ahead(answer, clock))


def _ahead(answer: httpx.Response, clock: Clock) -> float:
    """Return the seconds by which our clock is ahead of the answer's ``Date``."""
    try:
        date = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return clock.epoch() - date


def _by_proxy(config: Config, found: Finding, environ: Mapping[str, str]) -> str:
    """Name the environment variable that sets a proxy for this region, if one does."""
    if not found.says.startswith("unreachable"):
        return ""
    name = proxy_variable(config.regions[found.region].base_url, environ)
    return f"; {name} sets a proxy for it: check that the proxy works" if name else ""


def _verdict(answer: httpx.Response) -> str:
    code = _code(answer)
    suffix = f" ({code})" if code else ""
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return f"key refused{suffix}"
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return f"throttled{suffix}"
    if answer.status_code == httpx.codes.NOT_FOUND or answer.is_redirect:
        return f"answered {answer.status_code}{suffix}: base_url must be the native API, …/api/v1"
    # DashScope's gateway also reports some faults with status 200 (dashscope.md 2.2).
    if answer.status_code != httpx.codes.OK or code:
        return f"answered {answer.status_code}{suffix}"
    if "request_id" in body_of(answer):
        return "ok"
    return "answered 200, but not as DashScope does: check base_url, and any proxy in between"


def _code(answer: httpx.Response) -> str:
    code = str(body_of(answer).get("code") or "")
    return code if _CODE.fullmatch(code) else ""


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    """Align all columns but the last."""
    cells = list(rows)
    first, second = (max(len(row[column]) for row in cells) for column in (0, 1))
    lines = (f"{a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in cells)
    return "\n".join(lines)
