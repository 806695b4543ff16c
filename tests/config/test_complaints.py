"""Whatever is wrong in a file: one line that an operator can act on, without a key."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, config_keys, load_config
from tests.config.toml import load
from tests.config.wrong_models import WRONG_MODELS
from tests.config.wrong_settings import WRONG_SETTINGS
from tests.config.wrong_tenants import WRONG_TENANTS


@pytest.mark.parametrize(("text", "complaint"), [*WRONG_SETTINGS, *WRONG_MODELS, *WRONG_TENANTS])
def test_complaints(tmp_path: Path, text: str, complaint: str) -> None:
    """Each wrong config stops the start with one line: place, fault, remedy, and no key."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)

    assert str(caught.value) == f"{tmp_path / 'g.toml'}{complaint}"
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("path", [config_key.path for config_key in config_keys()])
def test_a_key_in_the_wrong_place_is_not_shown(tmp_path: Path, path: str) -> None:
    """Whichever setting a key is pasted into, no complaint repeats it."""
    table, _, name = path.replace("NAME", "x").rpartition(".")
    values = {"region": "beijing", "key": "env:K"} if table == "upstreams.x" else {}
    values |= {"region": "beijing"} if table == "tenants.x" else {}
    values[name] = "sk-canary0123456789abcdef0123456789"
    lines = [f'{key} = "{value}"' for key, value in values.items()]

    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "\n".join([f"[{table}]", *lines]))

    assert "canary" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "no.toml", {})

    there = tmp_path / "no.toml"
    assert str(caught.value) == (
        f"{there}: cannot be read (No such file or directory); fix --config"
    )


def test_file_in_another_encoding(tmp_path: Path) -> None:
    """A file that is no UTF-8 is told where."""
    file = tmp_path / "g.toml"
    file.write_bytes(b"# caf\xe9\n")

    with pytest.raises(ConfigError) as caught:
        load_config(file, {})

    assert str(caught.value) == f"{file}: byte 5 is not UTF-8; save it as UTF-8"


def test_long_values_are_cut(tmp_path: Path) -> None:
    """A complaint stays one short line whatever it quotes."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'[log]\nlevel = "{"a b " * 100}"')

    assert len(str(caught.value)) < 250
