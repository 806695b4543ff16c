"""DashScope's regions: their hosts, workspaces, and which model is where."""

from pathlib import Path

import httpx
import pytest

from gateway.config import ConfigError, config_from_environ, explain
from gateway.domain.models import Operation
from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.result_url import check_result_url
from tests.config.toml import HASH, load
from tests.models import MODELS

_KEYS = f'keys = ["{HASH}"]'


def config_of(region: str, *, workspace: str = "", tenant: str = "", more: str = "") -> str:
    """A config of one upstream and one tenant in *region*."""
    named = f'workspace = "{workspace}"' if workspace else ""
    return (
        f'[upstreams.main]\nregion = "{region}"\nkey = "env:K"\n{named}\n'
        f'[tenants.acme]\nregion = "{region}"\n{_KEYS}\n{tenant}\n{more}\n'
    )


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("beijing", "llm-1.cn-beijing.maas.aliyuncs.com"),
        ("singapore", "llm-1.ap-southeast-1.maas.aliyuncs.com"),
        ("virginia", "llm-1.us-east-1.maas.aliyuncs.com"),
        ("frankfurt", "llm-1.eu-central-1.maas.aliyuncs.com"),
        ("tokyo", "llm-1.ap-northeast-1.maas.aliyuncs.com"),
        ("hongkong", "llm-1.cn-hongkong.maas.aliyuncs.com"),
    ],
)
def test_the_host_of_a_workspace(tmp_path: Path, region: str, host: str) -> None:
    """A workspace has a host of its own in every region, and is named in each call."""
    models = 'models = { default = "qwen-image-3.0", default_generation = "qwen-image-3.0" }'

    config = load(tmp_path, config_of(region, workspace="llm-1", tenant=models))

    upstream = config.upstreams["main"]
    assert upstream.region.base_url == f"https://{host}/api/v1"
    shared = config.regions[region].base_url
    assert upstream.region.previous == ((shared,) if shared else ())
    assert f"region {region}: https://{host}/api/v1, results from" in explain(config)
    client = Clients(lambda _: httpx.MockTransport(lambda _: httpx.Response(200))).of(
        upstream, Purpose.CALL
    )
    request = client.build_request("GET", "/tasks")
    assert request.url == f"https://{host}/api/v1/tasks"
    assert request.headers["x-dashscope-workspace"] == "llm-1"


def test_a_workspace_at_a_host_of_the_operators(tmp_path: Path) -> None:
    """Where the config names a base_url the calls go there, with the workspace's name."""
    more = '[regions.beijing]\nbase_url = "http://127.0.0.1:9/api/v1"'

    config = load(tmp_path, config_of("beijing", workspace="llm-1", more=more))

    upstream = config.upstreams["main"]
    assert upstream.region.base_url == "http://127.0.0.1:9/api/v1"
    assert upstream.workspace == "llm-1"


def test_a_workspace_from_the_environment() -> None:
    """Without a file DASHSCOPE_WORKSPACE names it."""
    config = config_from_environ({"DASHSCOPE_API_KEY": "sk-1", "DASHSCOPE_WORKSPACE": "llm-1"})

    url = "https://llm-1.cn-beijing.maas.aliyuncs.com/api/v1"
    assert config.upstreams["default"].region.base_url == url


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(
            config_of("tokyo"),
            "upstreams.main.workspace: is missing: in tokyo only workspaces have hosts; use the id",
            id="no workspace",
        ),
        pytest.param(
            config_of("beijing", workspace="a.b"),
            'upstreams.main.workspace: got "a.b"; use the id of a workspace',
            id="no label",
        ),
        pytest.param(
            config_of("virginia"),
            "tenants.acme.models.default: wan2.5-i2i-preview is not in virginia; "
            'use "wan2.6-image", "qwen-image-3.0",',
            id="the default of edits",
        ),
        pytest.param(
            config_of("virginia", tenant='models = { default = "wan2.6-image" }'),
            "tenants.acme.models.default_generation: wan2.5-t2i-preview is not in virginia; "
            'use "wan2.6-t2i", "qwen-image-3.0",',
            id="the default of generations",
        ),
    ],
)
def test_complaints(tmp_path: Path, text: str, complaint: str) -> None:
    """What cannot work in a region is refused before the first edit."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)

    assert complaint in str(caught.value)


def test_models_of_a_region(tmp_path: Path) -> None:
    """A tenant has the models that DashScope has in its region, and no other."""
    models = 'models = { default = "qwen-image-3.0", default_generation = "qwen-image-3.0" }'

    config = load(tmp_path, config_of("hongkong", tenant=models))

    catalog = config.tenants["acme"].catalogs[Operation.EDIT]
    assert {model.name for model in catalog.models.values()} == {
        name for name in MODELS if name.startswith(("qwen-image-3.0", "qwen-image-2.1"))
    }
    assert "wan2.7-image" in catalog.refused


def test_results_of_the_accelerated_storage() -> None:
    """Results of qwen-image-3.0 were seen at such a host."""
    url = "https://dashscope-a717.oss-accelerate.aliyuncs.com/1d/2f/x.png?Expires=1"

    assert check_result_url(url, ["*.aliyuncs.com"]).url == url


def test_a_region_of_workspaces_alone_from_the_environment() -> None:
    """Without a workspace nothing says where its key is valid."""
    with pytest.raises(ConfigError, match="DASHSCOPE_WORKSPACE: is not set, and in frankfurt"):
        config_from_environ({"DASHSCOPE_API_KEY": "sk-1", "DASHSCOPE_REGION": "frankfurt"})


def test_a_region_of_the_operators_own(tmp_path: Path) -> None:
    """Which models are there is not known: a tenant has all of the table."""
    own = '[regions.elsewhere]\nbase_url = "https://dashscope.example/api/v1"\n'
    config = load(tmp_path, own + config_of("elsewhere"))

    catalog = config.tenants["acme"].catalogs[Operation.EDIT]
    assert {"wan2.7-image", "qwen-image-3.0"} <= {model.name for model in catalog.models.values()}
