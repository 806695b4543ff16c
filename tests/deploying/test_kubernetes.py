"""The Kubernetes manifests are what the API takes, and fit the image, the config and the rules."""

import re
import subprocess
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kubernetes_validate.utils import ValidationError, validate

from gateway.cli import _parser
from gateway.commands import check
from gateway.config import Config, load_config
from tests.deploying.files import CONFIG, IMAGE, ROOT, read_yaml, variables_of
from tests.observability.shipped import PROMETHEUS
from tests.programs import found, needs

_FOLDER = CONFIG / "kubernetes"
_TOML = _FOLDER / "gateway.toml"
_VERSIONS = ("1.29", "1.37")
"""The oldest and the newest of which the schemas are looked at."""
_OPERATORS = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, of which the API's own schemas know nothing."""

pytestmark = needs("kubectl")


@cache
def _rendered(folder: str = ".") -> tuple[dict[str, Any], ...]:
    """Return what ``kubectl apply -k`` would send."""
    done = subprocess.run(
        [str(found("kubectl")), "kustomize", str(_FOLDER / folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(read_yaml(done.stdout))


def _only(kind: str, name: str = "", folder: str = ".") -> dict[str, Any]:
    (resource,) = (
        it
        for it in _rendered(folder)
        if it["kind"] == kind and name in ("", it["metadata"]["name"])
    )
    return resource


def _pod() -> dict[str, Any]:
    pod: dict[str, Any] = _only("StatefulSet")["spec"]["template"]["spec"]
    return pod


def _container() -> dict[str, Any]:
    (container,) = _pod()["containers"]
    found: dict[str, Any] = container
    return found


def _labels() -> dict[str, str]:
    labels: dict[str, str] = _only("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    return labels


def _selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


@pytest.mark.parametrize("version", _VERSIONS)
def test_is_what_the_api_takes(version: str) -> None:
    """Every resource passes the API's schema, which takes no field that it does not know."""
    resources = _rendered() + _rendered("monitoring")
    ours = [it for it in resources if it["kind"] not in _OPERATORS]

    assert len(ours) == 5
    for resource in ours:
        validate(resource, version, strict=True)
    assert {it["kind"] for it in resources if it not in ours} == _OPERATORS


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("minReadySecond",), 10),
        (("template", "spec", "securityContext", "runAsUser"), "gateway"),
        (("template", "spec", "containers", 0, "readinessProbe", "httpGet", "port"), [8080]),
    ],
)
def test_what_the_api_would_refuse_is_found(path: tuple[Any, ...], value: object) -> None:
    """A field that is misspelt, or of another type, does not pass."""
    wrong = deepcopy(_only("StatefulSet"))
    place = wrong["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    with pytest.raises(ValidationError):
        validate(wrong, _VERSIONS[-1], strict=True)


@pytest.fixture
def config(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The config as a pod has it, with the Secret's files in a folder, and the pod's variables."""
    (mount,) = (it["mountPath"] for it in _container()["volumeMounts"] if it["name"] == "secrets")
    text = _only("ConfigMap")["data"]["gateway.toml"]
    names = re.findall(rf'"file:{mount}/([\w-]+)"', text)
    assert text.count('"file:') == len(names) == len(set(names)) == 3
    for name in names:
        url = "postgres://wan_gateway:secret@127.0.0.1:9/wan_gateway"
        (tmp_path / name).write_text(url if name == "database-url" else f"{name}-0123456789\n")
    file = tmp_path / "gateway.toml"
    file.write_text(text.replace(mount, str(tmp_path)), "utf-8")
    return file, _environment("wan-gateway-0", "pictures")


def _environment(pod: str, namespace: str) -> dict[str, str]:
    """Return the variables of a pod, in order, as the kubelet fills them in."""
    fields = {"metadata.name": pod, "metadata.namespace": namespace}
    environment: dict[str, str] = {}
    for variable in _container()["env"]:
        if "value" in variable:
            value = re.sub(r"\$\((\w+)\)", lambda it: environment[it[1]], variable["value"])
        else:
            value = fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        environment[variable["name"]] = value
    return environment


def _loaded(config: tuple[Path, dict[str, str]]) -> Config:
    return load_config(*config)


def test_the_config_is_good(
    config: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`wan-gateway check` takes it with what a pod has, and no key of a stranger is in it."""
    file, environment = config

    assert check.run(_parser().parse_args(["check", "--config", str(file)]), environment) == 0
    assert "default" in capsys.readouterr().out
    assert variables_of(_TOML) <= set(environment)
    placeholder = (CONFIG / "container.toml").read_text("utf-8")
    for digest in re.findall(r"sha256:\w+", _TOML.read_text("utf-8")):
        assert digest in placeholder


def test_nodes_find_each_other(config: tuple[Path, dict[str, str]]) -> None:
    """A node is called by its pod's name in the headless Service, also while it is not ready."""
    cluster = _loaded(config).cluster
    nodes = _only("Service", "wan-gateway-nodes")["spec"]

    assert cluster is not None
    assert (cluster.node, cluster.url) == (
        "wan-gateway-0",
        "http://wan-gateway-0.wan-gateway-nodes.pictures.svc:8080",
    )
    assert _only("StatefulSet")["spec"]["serviceName"] == "wan-gateway-nodes"
    assert (nodes["clusterIP"], nodes["publishNotReadyAddresses"]) == ("None", True)
    assert {port["name"]: port["port"] for port in nodes["ports"]}["http"] == 8080


def test_ports_and_labels_meet(config: tuple[Path, dict[str, str]]) -> None:
    """Services, probes and budget mean the pods and ports that there are."""
    ports = {port["name"]: port["containerPort"] for port in _container()["ports"]}
    loaded = _loaded(config)

    assert ports == {"http": loaded.server.port, "metrics": loaded.metrics.port}
    assert ports["http"] == int(IMAGE["EXPOSE"])
    for name in ("wan-gateway", "wan-gateway-nodes"):
        service = _only("Service", name)["spec"]
        assert _selects(service["selector"], _labels())
        assert {port["targetPort"] for port in service["ports"]} <= set(ports)
    for kind in ("StatefulSet", "PodDisruptionBudget"):
        assert _selects(_only(kind)["spec"]["selector"]["matchLabels"], _labels())
    for probe, path in (
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ):
        assert _container()[probe]["httpGet"] == {"path": path, "port": "http"}


def test_a_drain_has_its_time(config: tuple[Path, dict[str, str]]) -> None:
    """The grace lasts longer than preStop and the drain together; one node goes at a time."""
    pause = float(_container()["lifecycle"]["preStop"]["exec"]["command"][-1])
    drain = _loaded(config).server.drain_seconds

    assert _pod()["terminationGracePeriodSeconds"] > pause + drain
    assert _only("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert _only("StatefulSet")["spec"]["replicas"] == 3


def test_the_pod_is_confined(config: tuple[Path, dict[str, str]]) -> None:
    """It is the image's user, by number, writes nowhere but to /tmp, and has no capability."""
    pod, container = _pod(), _container()
    user, _, group = IMAGE["USER"].partition(":")

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["securityContext"]["runAsGroup"] == int(group)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        assert ("emptyDir" in volumes[mount["name"]]) != mount.get("readOnly", False)
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
    # docs/performance.md, "Memory": 81 MiB, and 1.45 times the bodies in flight.
    peak = 81 * 2**20 + 1.45 * _loaded(config).server.max_bytes_in_flight
    assert int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30 > peak


def test_a_changed_config_restarts_the_nodes() -> None:
    """The pods name the ConfigMap by a name that its content makes."""
    name = _only("ConfigMap")["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in _pod()["volumes"]}

    assert re.fullmatch(r"wan-gateway-\w{10}", name)
    assert volumes["config"]["configMap"]["name"] == name
    assert volumes["secrets"]["secret"]["secretName"] == "wan-gateway"
    assert _container()["image"].startswith("registry.example.com/wan-gateway:")


def test_the_monitor_scrapes_each_node_once() -> None:
    """Of the two Services it means the headless one, by the label that the rules' job has."""
    monitor = _only("ServiceMonitor", folder="monitoring")["spec"]
    meant = [
        it
        for it in _rendered()
        if it["kind"] == "Service"
        and _selects(monitor["selector"]["matchLabels"], it["metadata"]["labels"])
    ]
    (endpoint,) = monitor["endpoints"]

    assert [it["metadata"]["name"] for it in meant] == ["wan-gateway-nodes"]
    assert endpoint["port"] in {port["name"] for port in meant[0]["spec"]["ports"]}
    job = meant[0]["metadata"]["labels"][monitor["jobLabel"]]
    assert f'job="{job}"' in (PROMETHEUS / "rules/alerts.yml").read_text("utf-8")
    (scrape,) = read_yaml((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    assert endpoint["interval"] == scrape["global"]["scrape_interval"]


def test_the_howtos_commands_fit() -> None:
    """Each kubectl command names folders, files and pods that there are."""
    page = (ROOT / "docs" / "howto" / "kubernetes.md").read_text("utf-8").replace("\\\n", "")
    commands = [line.split() for line in re.findall(r"^ *(kubectl .+)$", page, re.MULTILINE)]
    folders = {word for words in commands for word in words if word.startswith("config/")}
    files = re.findall(r"--from-file=([\w-]+)", page)

    assert len(commands) == 5
    assert folders == {"config/kubernetes", "config/kubernetes/monitoring"}
    assert all((ROOT / folder / "kustomization.yaml").is_file() for folder in folders)
    assert sorted(files) == sorted(re.findall(r'"file:.*/([\w-]+)"', _TOML.read_text("utf-8")))
    assert ["kubectl", "create", "secret", "generic", "wan-gateway"] in [it[:5] for it in commands]
    (_, _, pod, _, *command) = next(words for words in commands if words[1] == "exec")
    assert pod == f"{_only('StatefulSet')['metadata']['name']}-0"
    assert _parser().parse_args(command[1:]).config == Path(_container()["args"][-1])
