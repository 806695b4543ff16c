"""The compose files are of the compose specification, and the cluster's services fit each other."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose

from gateway.config import Config, load_config
from tests.deploying.files import CONFIG, IMAGE, default, read_yaml, variables_of, write_yaml
from tests.haproxy import EXAMPLE
from tests.programs import found, needs

_CLUSTER = CONFIG / "compose-cluster.yaml"
_NODES = ("gateway-a", "gateway-b", "gateway-c")
_INTERPOLATED = re.compile(r"\$\{(\w+):\?[^}]+\}")


def _services() -> dict[str, Any]:
    (file,) = read_yaml(_CLUSTER.read_text("utf-8"))
    services: dict[str, Any] = file["services"]
    return services


def _environment(service: str) -> dict[str, str]:
    """Return the variables that a container gets if each of the operator's is ``x`` times 20."""
    environment: dict[str, str] = _services()[service]["environment"]
    return {name: _INTERPOLATED.sub("x" * 20, value) for name, value in environment.items()}


def _config(service: str) -> Config:
    return load_config(CONFIG / "cluster.toml", _environment(service))


@pytest.mark.parametrize("name", ["compose.yaml", "compose-cluster.yaml"])
def test_is_of_the_specification(name: str) -> None:
    """Every key and value is one that the compose specification knows."""
    (file,) = read_yaml((CONFIG / name).read_text("utf-8"))

    assert PyCompose.from_yaml(write_yaml(file)).service_names()
    for wrong in ({"read_onyl": True}, {"restart": "perhaps"}, {"stop_grace_period": "2 weeks"}):
        service = {**next(iter(file["services"].values())), **wrong}
        with pytest.raises(ValueError, match="services"):
            PyCompose.from_yaml(write_yaml({"services": {"it": service}}))


def test_services_of_the_cluster() -> None:
    """Three nodes stand behind HAProxy, which alone can be reached, and on loopback only."""
    services = _services()

    assert set(services) == {*_NODES, "haproxy", "postgres"}
    assert [name for name, service in services.items() if "ports" in service] == ["haproxy"]
    assert services["haproxy"]["ports"] == ["127.0.0.1:8080:80"]
    assert set(services["haproxy"]["depends_on"]) == set(_NODES)
    for service in services.values():
        assert set(service["depends_on"]) <= set(services) if "depends_on" in service else True
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert re.fullmatch(r"\d+m", service["logging"]["options"]["max-size"])


def test_mounts_are_there() -> None:
    """Each path on this side is a file of the repository that is not written, or a volume."""
    (file,) = read_yaml(_CLUSTER.read_text("utf-8"))

    for service in file["services"].values():
        for mount in service["volumes"]:
            source, target, *more = mount.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (CONFIG / source).is_file()
                assert more == ["ro"]
            else:
                assert source in file["volumes"]
    command = _services()["gateway-a"]["command"]
    assert f"./cluster.toml:{command[-1]}:ro" in _services()["gateway-a"]["volumes"]


def test_each_node_gets_what_its_config_names() -> None:
    """The config that is mounted is a good one with a container's variables, and no others."""
    for service in _NODES:
        environment = _environment(service)
        config = _config(service)

        assert set(environment) == variables_of(CONFIG / "cluster.toml")
        assert config.cluster is not None
        assert config.cluster.url == f"http://{service}:{config.server.port}"
        assert config.state.url == f"postgres://wan_gateway:{'x' * 20}@postgres/wan_gateway"
    assert len({_environment(service)["NODE_NAME"] for service in _NODES}) == 3
    database = _environment("postgres")
    assert database == {"POSTGRES_USER": "wan_gateway", "POSTGRES_PASSWORD": "x" * 20}


def test_no_secret_is_written_down() -> None:
    """What is secret comes from the operator's environment, and is missed before a start."""
    for service in (*_NODES, "postgres"):
        for name, value in _services()[service]["environment"].items():
            if re.search("KEY|PASSWORD|SECRET|DATABASE", name):
                assert _INTERPOLATED.search(value), name


def test_nobody_is_cut_at_a_stop() -> None:
    """A node may drain before it is killed, and HAProxy may serve whoever waits."""
    services = _services()
    timeout = re.search(r"hard-stop-after (\d+)s", EXAMPLE.read_text("utf-8"))

    assert timeout
    assert float(services["haproxy"]["stop_grace_period"][:-1]) >= float(timeout[1])
    for name in _NODES:
        drain = _config(name).server.drain_seconds
        assert drain == default("server.drain_seconds")
        assert float(services[name]["stop_grace_period"][:-1]) > drain


@needs("haproxy")
def test_haproxy_knows_the_nodes(tmp_path: Path) -> None:
    """Its servers are the three nodes at the image's port, and HAProxy takes the file as it is."""
    servers = re.findall(r"^  server \w+ (\S+)$", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    checked = subprocess.run(
        [str(found("haproxy")), "-c", "-f", str(EXAMPLE)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert servers == [f"{name}:{IMAGE['EXPOSE']}" for name in _NODES]
    assert checked.returncode == 0, checked.stderr
    source, _, _ = _services()["haproxy"]["volumes"][0].partition(":")
    assert (CONFIG / source).resolve() == EXAMPLE
