"""``[cluster]``: this node among others that share its ledger."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.config.rules import BaseUrl, Name, Rule, read, take
from gateway.config.schema import ClusterConfig, ClusterTable
from gateway.config.secret import secret
from gateway.config.table import Table

_SHORTEST_SECRET = 16
_NODE_URL = BaseUrl('a URL such as "http://10.0.0.5:8080"')


def read_cluster(
    table: Table, environ: Mapping[str, str], *, shared_ledger: bool
) -> ClusterConfig | None:
    """
    Return what ``[cluster]`` says, with its secret; ``None`` if the table is not there.

    Raises:
        ConfigError: a key is wrong, or the ledger is this machine's alone.
    """
    if not table.values:
        return None
    written = read(ClusterTable, table)
    node = _resolved(table, "node", written.node, Name(), environ)
    url = _resolved(table, "url", written.url, _NODE_URL, environ)
    if urlsplit(url).path:
        raise table.wrong("url", "it has a path", 'use one such as "http://10.0.0.5:8080"')
    key = secret(table, "secret", written.secret, environ)
    if len(key) < _SHORTEST_SECRET:
        what = f"it has fewer than {_SHORTEST_SECRET} characters and could be guessed"
        raise table.wrong("secret", what, 'make one with "openssl rand -hex 24"')
    if not shared_ledger:
        what = "nodes need a ledger that they share"
        raise table.wrong("", what, "set state.url to a PostgreSQL database, or remove [cluster]")
    return ClusterConfig(node=node, url=url, secret=key, lease_seconds=written.lease_seconds)


def _resolved(table: Table, name: str, value: str, rule: Rule, environ: Mapping[str, str]) -> Any:
    """Return *value*, or what the variable holds that it names, by *rule*."""
    if not value.startswith("env:"):
        return value
    held = secret(table, name, value, environ)
    return take(Table(table.source, table.path, {name: held}), name, rule)
