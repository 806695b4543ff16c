"""A start without a file: what the variables say, and what the command line changes."""

from dataclasses import replace
from hashlib import sha256

import pytest

from gateway.config import ConfigError, config_from_environ, listen_at
from gateway.config.regions import BUILT_IN
from gateway.config.table import one_of

REGIONS = one_of(BUILT_IN)


def test_environment_alone() -> None:
    """A DashScope key is enough: one open tenant on loopback in Beijing."""
    config = config_from_environ({"DASHSCOPE_API_KEY": " sk-canary "})

    assert config.source == "environment"
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)
    assert config.open_tenant == "default"
    tenant = config.tenants["default"]
    assert (tenant.region, tenant.upstreams[0].key) == ("beijing", "sk-canary")
    assert tenant.upstreams[0].region.base_url == "https://dashscope.aliyuncs.com/api/v1"


def test_environment_names_region_base_url_and_customers_key() -> None:
    """The variables choose region, base URL and the clients' key."""
    config = config_from_environ(
        {
            "DASHSCOPE_API_KEY": "sk-canary",
            "DASHSCOPE_REGION": "singapore",
            "DASHSCOPE_BASE_URL": "http://127.0.0.1:8002/api/v1",
            "WAN_GATEWAY_KEY": "mine\n",
        }
    )

    assert config.open_tenant is None
    assert config.tenant_by_key == {sha256(b"mine").digest(): "default"}
    region = config.tenants["default"].upstreams[0].region
    assert (region.name, region.base_url) == ("singapore", "http://127.0.0.1:8002/api/v1")
    assert "127.0.0.1:8002" in region.result_hosts


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        pytest.param(
            {}, "DASHSCOPE_API_KEY: is not set; set it, or give --config FILE", id="no-key"
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": " "},
            "DASHSCOPE_API_KEY: is not set; set it, or give --config FILE",
            id="blank-key",
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": "sk-canary two"},
            "upstreams.default.key: the environment variable DASHSCOPE_API_KEY has no key in it; "
            "put one word of ASCII there",
            id="odd-key",
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": "sk-canary", "DASHSCOPE_REGION": "mars"},
            f'DASHSCOPE_REGION: got "mars"; use {REGIONS}',
            id="region",
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": "sk-canary", "DASHSCOPE_BASE_URL": "dashscope"},
            'DASHSCOPE_BASE_URL: got "dashscope"; '
            'use a URL such as "https://dashscope.aliyuncs.com/api/v1"',
            id="base-url",
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": "sk-canary", "WAN_GATEWAY_KEY": ""},
            "WAN_GATEWAY_KEY: is empty; give it a value, or unset it",
            id="empty-customers-key",
        ),
    ],
)
def test_environment_complaints(environ: dict[str, str], complaint: str) -> None:
    """What is wrong with the environment names its variable, and no key."""
    with pytest.raises(ConfigError) as caught:
        config_from_environ(environ)

    assert str(caught.value) == f"environment: {complaint}"
    assert "canary" not in str(caught.value)


def test_empty_variables_count_as_not_set() -> None:
    """A container that passes variables on empty gets the defaults."""
    config = config_from_environ(
        {"DASHSCOPE_API_KEY": "sk-canary", "DASHSCOPE_REGION": "", "DASHSCOPE_BASE_URL": ""}
    )

    assert config.tenants["default"].region == "beijing"


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        pytest.param(None, None, ("127.0.0.1", 8080), id="as-it-was"),
        pytest.param("localhost", None, ("localhost", 8080), id="host"),
        pytest.param("::1", 0, ("::1", 0), id="both"),
    ],
)
def test_listen_at(host: str | None, port: int | None, expected: tuple[str, int]) -> None:
    """The command line changes the address and nothing else."""
    config = config_from_environ({"DASHSCOPE_API_KEY": "sk-canary"})

    moved = listen_at(config, host=host, port=port)

    assert (moved.server.host, moved.server.port) == expected
    assert replace(moved, server=config.server) == config


def test_listen_at_keeps_an_open_tenant_in() -> None:
    """--host cannot open a tenant without keys to the network."""
    config = config_from_environ({"DASHSCOPE_API_KEY": "sk-canary"})

    with pytest.raises(ConfigError) as caught:
        listen_at(config, host="0.0.0.0")

    assert str(caught.value) == (
        'environment: server.host: "0.0.0.0" is not a loopback address, and the tenant default is '
        "open; give the tenant keys (WAN_GATEWAY_KEY without a file), or use 127.0.0.1"
    )
