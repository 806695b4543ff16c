"""The name of a config, by which nodes find that theirs differ."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.app import build
from gateway.cluster.assembly import shared_config
from gateway.config import Config, ConfigError, load_config_to_run
from tests.harness import KEY, UPSTREAM_KEY
from tests.process import tables

_ENVIRON = {"KEY": UPSTREAM_KEY, "CUSTOMER": KEY, "S1": "1" * 32, "S2": "2" * 32}
_PROGRAM = """
import sys
from pathlib import Path
from gateway.cluster.assembly import shared_config
from gateway.config import load_config_to_run
print(shared_config(load_config_to_run(Path(sys.argv[1]), {"KEY": "sk-1"})))
"""


def _results(folder: str, secret: str) -> str:
    """Return the table of a store in *folder*, whose URLs are signed with *secret*."""
    return (
        f'\n[results]\nstore = "folder:{folder}"\nsecret = "env:{secret}"\n'
        'public_url = "https://pictures.test"\n'
    )


def _name(file: Path, text: str) -> str:
    file.write_text(text)
    return shared_config(load_config_to_run(file, _ENVIRON))


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Sets have another order in each process; it is the same config all the same."""
    file = tmp_path / "g.toml"
    file.write_text(tables(tmp_path))
    names = {
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, file],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(names) == 1


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        pytest.param("port = 0", "port = 8080", True, id="where-it-listens"),
        pytest.param("[tenants.acme]", "[tenants.acme]\nfit = false", False, id="a-tenant"),
        pytest.param('key = "env:KEY"', 'key = "env:KEY"\nrunning_tasks = 9', False, id="a-limit"),
        pytest.param("9/api/v1", "10/api/v1", False, id="a-region"),
        pytest.param("", '\n[prices.beijing]\n"wan2.7-image" = 9', False, id="a-price"),
        pytest.param("", _results("/one", "S1"), False, id="kept-results"),
    ],
)
def test_what_has_to_be_equal(tmp_path: Path, old: str, new: str, *, same: bool) -> None:
    """Tenants, limits, regions, prices and results; not what is a node's own."""
    file = tmp_path / "g.toml"
    text = tables(tmp_path)
    assert old in text
    changed = text.replace(old, new) if old else text + new

    assert (_name(file, text) == _name(file, changed)) is same


def test_kept_results_have_to_be_equal(tmp_path: Path) -> None:
    """A URL that one node signs is checked by another, which needs the store and the secret."""
    file = tmp_path / "g.toml"
    text = tables(tmp_path)

    names = {_name(file, text + _results(*it)) for it in (("/a", "S1"), ("/b", "S1"), ("/a", "S2"))}

    assert len(names) == 3


_CLUSTER = """
[state]
url = "postgres://127.0.0.1:1/none"
[cluster]
node = "a"
url = "http://127.0.0.1:2"
secret = "env:S1"
"""


def test_a_reload_renames_the_config(tmp_path: Path) -> None:
    """The other nodes see that this one has another config; other accounts need a restart."""
    text = tables(tmp_path)
    file = tmp_path / "g.toml"
    start, _, rest = text.partition("[state]")
    text = start + "[" + rest.partition("[")[2] + _CLUSTER

    def load(text: str) -> Config:
        file.write_text(text)
        return load_config_to_run(file, _ENVIRON)

    config = load(text)
    changed = load(text.replace("[tenants.acme]", "[tenants.acme]\nfit = false"))
    other = load(text + '[upstreams.more]\nregion = "beijing"\nkey = "env:S2"\n')
    gateway = build(config)
    rows = gateway._cluster.node._rows  # type: ignore[union-attr]  # there is one

    gateway.reload(changed)
    renamed = rows.config
    with pytest.raises(ConfigError, match="account"):
        gateway.reload(other)

    assert renamed == rows.config == shared_config(changed) != shared_config(config)
