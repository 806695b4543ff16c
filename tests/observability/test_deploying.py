"""The compose file and the systemd unit name what exists, and keep the service in."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from gateway.config.reference import config_keys
from tests.observability.shipped import GRAFANA, ROOT, alerts, read_yaml
from tests.observability.test_alerts import CASES
from tests.packaging.dockerfile import stages_of, steps_of
from tests.programs import needs

_COMPOSE = ROOT / "config" / "compose.yaml"
_UNIT = ROOT / "config" / "systemd" / "wan-gateway.service"
_IMAGE = stages_of(steps_of((ROOT / "Dockerfile").read_text("utf-8")))[-1]


def _services() -> dict[str, Any]:
    services: dict[str, Any] = read_yaml(_COMPOSE)["services"]
    return services


def _settings() -> dict[str, list[str]]:
    """Return the unit's settings: name → values, in order."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", _UNIT.read_text("utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def _default(path: str) -> float:
    return float(next(key.default for key in config_keys() if key.path == path))


def test_compose_is_the_four() -> None:
    """Gateway, Prometheus, Alertmanager and Grafana come up together, each on loopback only."""
    services = _services()

    assert list(services) == ["gateway", "prometheus", "alertmanager", "grafana"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_compose_bounds_the_logs() -> None:
    """No service fills the disk with its log."""
    for service in _services().values():
        options = service["logging"]["options"]
        assert service["logging"]["driver"] == "json-file"
        assert re.fullmatch(r"\d+m", options["max-size"])
        assert int(options["max-file"]) > 1


def test_compose_remembers_longer_than_a_month() -> None:
    """Last month can be compared with the month before, and the disk does not fill."""
    command = _services()["prometheus"]["command"]
    kept = dict(
        word.partition("retention.")[2].split("=") for word in command if "retention" in word
    )

    assert int(kept["time"].removesuffix("d")) > 62
    assert kept["size"].endswith("GB")


def test_compose_mounts_what_exists() -> None:
    """Each path on this side is a file or a folder of the repository, or a named volume."""
    reported = read_yaml(_COMPOSE)

    for service in reported["services"].values():
        for mount in service["volumes"]:
            source, _, _ = mount.partition(":")
            if source.startswith("."):
                assert (_COMPOSE.parent / source).exists(), source
                assert mount.endswith(":ro")
            else:
                assert source in reported["volumes"]
    context = _COMPOSE.parent / reported["services"]["gateway"]["build"]["context"]
    assert (context / "Dockerfile").exists()


def test_compose_scrapes_the_gateway() -> None:
    """Prometheus gets the targets of the network in place of those of one machine."""
    reported = read_yaml(_COMPOSE)
    targets, alertmanagers = reported["services"]["prometheus"]["configs"]
    port = next(step.rest for step in _IMAGE if step.word == "EXPOSE")
    prometheus = read_yaml(ROOT / "config/prometheus/prometheus.yml")
    (alerting,) = prometheus["alerting"]["alertmanagers"]

    assert reported["configs"][targets["source"]]["content"].split()[-1] == f"gateway:{port}"
    assert targets["target"] == "/etc/prometheus/targets.yml"
    assert prometheus["scrape_configs"][0]["file_sd_configs"] == [{"files": ["targets.yml"]}]
    listed = reported["configs"][alertmanagers["source"]]["content"].split()[-1]
    assert listed == "alertmanager:9093"
    assert "127.0.0.1:9093:9093" in reported["services"]["alertmanager"]["ports"]
    assert alertmanagers["target"] == "/etc/prometheus/alertmanagers.yml"
    assert alerting == {"file_sd_configs": [{"files": ["alertmanagers.yml"]}]}


_MATCHER = re.compile(r'(alertname|severity)(=~?)"([^"]+)"')


def _matched(matchers: list[str]) -> set[str]:
    """Return the alerts that *matchers*, each of a form that Alertmanager takes, choose."""
    chosen = set(alerts())
    for matcher in matchers:
        found = _MATCHER.fullmatch(matcher)
        assert found, matcher
        label, regular, value = found.groups()
        pattern = value if regular == "=~" else re.escape(value)
        chosen = {
            name
            for name in chosen
            if re.fullmatch(pattern, name if label == "alertname" else alerts()[name].severity)
        }
    return chosen


def test_alertmanager_knows_the_alerts() -> None:
    """Each route and each rule of inhibition is about alerts that exist, and none about itself."""
    config = read_yaml(ROOT / "config" / "alertmanager" / "alertmanager.yml")
    receivers = {receiver["name"] for receiver in config["receivers"]}

    assert {config["route"]["receiver"]} < receivers
    assert len(config["inhibit_rules"]) > 5
    for route in config["route"]["routes"]:
        assert route["receiver"] in receivers
        _matched(route["matchers"])
    for rule in config["inhibit_rules"]:
        source, target = (_matched(rule[f"{kind}_matchers"]) for kind in ("source", "target"))
        assert len(source) == 1
        assert target
        assert not source & target


def test_alerts_inhibit_by_labels_that_they_have() -> None:
    """A label that one of both lacks would be equal to nothing, and silence too much."""
    config = read_yaml(ROOT / "config" / "alertmanager" / "alertmanager.yml")

    for rule in config["inhibit_rules"]:
        (source,) = _matched(rule["source_matchers"])
        for label in rule.get("equal", ()):
            assert label in CASES[source].labels, (source, label)
            for target in _matched(rule["target_matchers"]):
                labels = CASES[target].labels
                assert label in labels or label == "instance", (target, label)


@needs("amtool")
def test_alertmanager_takes_its_config() -> None:
    """Alertmanager's own tool finds nothing wrong."""
    file = ROOT / "config" / "alertmanager" / "alertmanager.yml"

    done = subprocess.run(
        ["amtool", "check-config", str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_keeps_the_ledger_and_drains() -> None:
    """The ledger is on a volume where the image keeps it, and SIGKILL waits for the drain."""
    gateway = _services()["gateway"]
    where = next(step.rest for step in _IMAGE if step.word == "VOLUME")

    assert f"ledger:{where}" in gateway["volumes"]
    assert int(gateway["stop_grace_period"].rstrip("s")) > _default("server.drain_seconds")


def test_compose_holds_no_secret() -> None:
    """Keys and passwords come from the environment, and are missed before anything starts."""
    for service in _services().values():
        for name, value in service.get("environment", {}).items():
            if name.endswith(("KEY", "PASSWORD")):
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), name


def test_grafana_finds_its_dashboards() -> None:
    """What is mounted is where the provisioning looks, and the home page is one of them."""
    grafana = _services()["grafana"]
    mounts = dict(mount.removesuffix(":ro").split(":") for mount in grafana["volumes"])
    provider = read_yaml(GRAFANA / "provisioning/dashboards/wan-gateway.yaml")["providers"][0]
    source = read_yaml(GRAFANA / "provisioning/datasources/wan-gateway.yaml")["datasources"][0]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert mounts["./grafana/dashboards"] == provider["options"]["path"] == str(home.parent)
    assert (GRAFANA / "dashboards" / home.name).exists()
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert source["type"] == "prometheus"
    assert source["url"] == "http://${PROMETHEUS_ADDRESS}"
    assert grafana["environment"]["PROMETHEUS_ADDRESS"] == "prometheus:9090"


def test_unit_drains_before_it_is_killed() -> None:
    """The unit waits longer than a drain, restarts a crash, and leaves a bad config alone."""
    settings = _settings()

    assert float(settings["TimeoutStopSec"][0]) > _default("server.drain_seconds")
    assert settings["Restart"] == ["on-failure"]
    assert settings["RestartPreventExitStatus"] == ["2"]
    assert settings["ExecStart"][0].split()[1:3] == ["serve", "--config"]
    assert settings["ExecStartPre"][0].split()[1:3] == ["check", "--config"]


def test_unit_takes_keys_as_credentials() -> None:
    """A key can be a file that only root reads; config and how-to say where the gateway sees it."""
    (credential,) = _settings()["LoadCredential"]
    name, _, folder = credential.partition(":")
    howto = (ROOT / "docs" / "howto" / "keys.md").read_text("utf-8")

    assert f"install -d -m 700 {folder}" in _UNIT.read_text("utf-8")
    assert f"file:/run/credentials/{_UNIT.name}/{name}_" in howto
    assert f"{folder}/" in howto


@needs("systemd-analyze")
def test_unit_is_good_and_hardened(tmp_path: Path) -> None:
    """Systemd takes every line of the unit, and rates its exposure below 2 of 10."""
    unit = tmp_path / "wan-gateway.service"
    text = _UNIT.read_text("utf-8").replace(
        "/opt/wan-gateway/bin/wan-gateway", shutil.which("true") or ""
    )
    unit.write_text(text, "utf-8")

    good = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    assert rated.returncode == 0, rated.stdout
