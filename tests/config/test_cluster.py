"""``[cluster]``: what it takes, and each way in which it can be wrong."""

from collections.abc import Mapping

import pytest

from gateway.config import ConfigError
from gateway.config.build import build
from gateway.config.cluster import read_cluster
from gateway.config.explain import explain, warnings
from gateway.config.schema import ClusterConfig
from gateway.config.table import Table

SECRET = "0123456789abcdef"
VALUES = {"node": "a", "url": "http://10.0.0.5:8080", "secret": "env:SECRET"}
ENVIRON = {"SECRET": SECRET, "POD": "gateway-0", "URL": "http://10.0.0.7:8080", "SHORT": "abc"}


def _read(values: Mapping[str, object], *, shared_ledger: bool = True) -> ClusterConfig | None:
    return read_cluster(Table("g.toml", "cluster", values), ENVIRON, shared_ledger=shared_ledger)


def test_absent() -> None:
    """Without the table a gateway is alone."""
    assert _read({}) is None


def test_defaults() -> None:
    """The name, the URL and the secret are required; the lease has a default."""
    assert _read(VALUES) == ClusterConfig("a", "http://10.0.0.5:8080", SECRET, 10)
    assert SECRET not in repr(_read(VALUES))


def test_variables() -> None:
    """Nodes of one config take what is theirs from the environment."""
    cluster = _read({**VALUES, "node": "env:POD", "url": "env:URL", "lease_seconds": 4})

    assert cluster == ClusterConfig("gateway-0", "http://10.0.0.7:8080", SECRET, 4)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        pytest.param(
            {"node": "A b"},
            'cluster.node: got "A b"; use up to 63 of a-z, 0-9, _ and -, a letter or digit first,'
            ' or "env:NAME"',
            id="node",
        ),
        pytest.param(
            {"node": "env:URL"},
            'cluster.node: got "http://10.0.0.7:8080"; use up to 63 of a-z, 0-9, _ and -, a letter'
            " or digit first",
            id="node-in-variable",
        ),
        pytest.param(
            {"node": "env:NOT_SET"},
            "cluster.node: the environment variable NOT_SET is not set; set it, or use file:PATH",
            id="node-not-set",
        ),
        pytest.param(
            {"url": "10.0.0.5"},
            'cluster.url: got "10.0.0.5"; use a URL such as "http://10.0.0.5:8080", or "env:NAME"',
            id="url",
        ),
        pytest.param(
            {"url": "http://10.0.0.5:8080/v1"},
            'cluster.url: it has a path; use one such as "http://10.0.0.5:8080"',
            id="url-with-path",
        ),
        pytest.param(
            {"secret": "hunter2"},
            'cluster.secret: is not a reference to a key; use "env:NAME" or "file:PATH"',
            id="secret-written-down",
        ),
        pytest.param(
            {"secret": "env:SHORT"},
            "cluster.secret: it has fewer than 16 characters and could be guessed; "
            'make one with "openssl rand -hex 24"',
            id="secret-short",
        ),
        pytest.param(
            {"lease_seconds": 0.5},
            "cluster.lease_seconds: got 0.5; use a number from 1",
            id="lease-short",
        ),
        pytest.param(
            {"lease": 5},
            "cluster.lease: unknown key; remove it",
            id="unknown-key",
        ),
    ],
)
def test_complaints(values: Mapping[str, object], complaint: str) -> None:
    """Each is one line: the key, what is wrong and what to do."""
    with pytest.raises(ConfigError) as caught:
        _read({**VALUES, **values})

    assert str(caught.value) == f"g.toml: {complaint}"


@pytest.mark.parametrize("key", ["node", "url", "secret"])
def test_required(key: str) -> None:
    """A node without a name, an address or a secret is none of a cluster."""
    with pytest.raises(ConfigError, match=f"cluster.{key}: is missing; use "):
        _read({name: value for name, value in VALUES.items() if name != key})


def test_needs_a_shared_ledger() -> None:
    """Nodes that each have a ledger of their own would pay twice: that stops the start."""
    values = {
        "upstreams": {"main": {"region": "beijing", "key": "env:SECRET"}},
        "tenants": {"acme": {"open": True}},
        "cluster": VALUES,
    }
    with pytest.raises(ConfigError) as caught:
        build("g.toml", values, ENVIRON)

    assert str(caught.value) == (
        "g.toml: cluster: nodes need a ledger that they share; "
        "set state.url to a PostgreSQL database, or remove [cluster]"
    )


@pytest.mark.parametrize(
    ("host", "url", "warned"),
    [
        pytest.param("127.0.0.1", "http://127.0.0.1:8080", [], id="on-one-machine"),
        pytest.param("0.0.0.0", "https://a.internal", [], id="encrypted"),
        pytest.param(
            "127.0.0.1",
            "http://10.0.0.5:8080",
            [
                "no other node reaches cluster.url: server.host is 127.0.0.1",
                "requests between nodes travel unencrypted: cluster.url is http",
            ],
            id="unreachable",
        ),
    ],
)
def test_explained(host: str, url: str, warned: list[str]) -> None:
    """`check` says which node this is, and warns of what probably was not intended."""
    values = {
        "server": {"host": host},
        "state": {"url": "env:DATABASE"},
        "upstreams": {"main": {"region": "beijing", "key": "env:SECRET"}},
        "tenants": {"acme": {"keys": ["sha256:" + 64 * "0"]}},
        "cluster": {**VALUES, "url": url},
    }
    config = build("g.toml", values, {**ENVIRON, "DATABASE": "postgres://u@db.internal/gateway"})

    assert f"it is a at {url}, leases of 10 s" in explain(config)
    assert list(warnings(config)) == warned
