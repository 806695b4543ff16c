"""``[metrics]`` and ``[traces]``: what is told of this process, and to whom."""

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from types import MappingProxyType

from gateway.config.keys import read, take
from gateway.config.rules import BaseUrl, Collector, KeyReference
from gateway.config.schema import Metrics, Traces
from gateway.config.secret import secret
from gateway.config.table import Table

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


def read_metrics(table: Table, environ: Mapping[str, str]) -> tuple[Metrics, str | None]:
    """Return where metrics are read, and what a scraper has to present."""
    said = read(Metrics, table)
    if said.host is not None and not said.port:
        raise table.wrong("host", "there is not a port of its own", "set port, or remove host")
    return said, None if said.token is None else secret(table, "token", said.token, environ)


def read_traces(table: Table, environ: Mapping[str, str]) -> tuple[Traces, Mapping[str, str]]:
    """Return where traces go and how many, and the headers that go with them."""
    plain = {key: value for key, value in table.values.items() if key != "headers"}
    said = read(Traces, Table(table.source, table.path, plain))
    given = table.table("headers")
    headers = {name: _header(given, name, environ) for name in given.values}
    if said.endpoint is None:
        return said, MappingProxyType(headers)
    said = replace(said, endpoint=_url(table, said.endpoint, environ))
    if not _can_export():
        what = "needs what is not installed"
        raise table.wrong("endpoint", what, "run pip install 'wan-gateway[otel]', or remove it")
    return said, MappingProxyType(headers)


def _header(table: Table, name: str, environ: Mapping[str, str]) -> str:
    if not _HEADER.fullmatch(name):
        raise table.wrong(name, "is not a header name", "use letters, digits and -")
    return secret(table, name, take(table, name, KeyReference()), environ, blanks=True)


def _url(table: Table, endpoint: str, environ: Mapping[str, str]) -> str:
    """Return the collector's URL, which a variable such as OTEL's own may hold."""
    if not endpoint.startswith("env:"):
        return endpoint
    url = secret(table, "endpoint", endpoint, environ)
    given = Table(table.source, table.path, {"endpoint": url})
    return str(take(given, "endpoint", BaseUrl(Collector().takes)))


def _can_export() -> bool:
    try:
        return find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        return False
