"""What config/ holds for machines of others, as a test reads it."""

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.config.reference import config_keys
from tests.packaging.dockerfile import stages_of, steps_of

_yaml: Any = pytest.importorskip("yaml", reason="PyYAML reads the shipped YAML")
ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
IMAGE = {
    step.word: step.rest
    for step in stages_of(steps_of((ROOT / "Dockerfile").read_text("utf-8")))[-1]
}
"""Of the image's last stage: word → the last step of that word."""


def read_yaml(text: str) -> list[dict[str, Any]]:
    """Return the documents of *text*, its merges done."""
    return list(_yaml.safe_load_all(text))


def write_yaml(document: object) -> str:
    return str(_yaml.safe_dump(document))


def default(key: str) -> float:
    """Return the default of a key of the gateway's config."""
    return float(next(it.default for it in config_keys() if it.path == key))


def variables_of(config: Path) -> set[str]:
    """Return the variables that a config of the gateway names."""
    return set(re.findall(r'"env:(\w+)"', config.read_text("utf-8")))
