"""The rules for the Prometheus operator are those of config/prometheus, from one source."""

from pathlib import Path

import pytest

from config.kubernetes import build as kubernetes
from tests.observability.shipped import PROMETHEUS, read_yaml


def test_holds_every_group() -> None:
    """The PrometheusRule has each group of each file, as config/kubernetes/build.py writes it."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    groups = [group for file in files for group in read_yaml(file)["groups"]]

    assert kubernetes.TARGET.read_text("utf-8") == kubernetes.prometheus_rule(), (
        "run config/kubernetes/build.py"
    )
    assert read_yaml(kubernetes.TARGET)["spec"] == {"groups": groups}


def test_a_file_without_groups_is_refused(tmp_path: Path) -> None:
    """A file of another form is not left out in silence."""
    (tmp_path / "odd.yml").write_text("rules: []\n")

    with pytest.raises(ValueError, match=r"odd\.yml: has no groups"):
        kubernetes.prometheus_rule(tmp_path)
