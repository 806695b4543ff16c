from pathlib import Path

import pytest

from gateway.cli import main
from gateway.config import ConfigError
from tests.config.toml import load

_TABLES = """
[server]
port = 99999
hosts = "a"
[log]
level = "loud"
[extra]
[upstreams.a]
key = "env:K"
[upstreams.b]
region = "beijing"
key = "env:UNSET"
[tenants.t]
keys = ["nothing"]
weight = 0
"""
_BETWEEN = """
[prices.mars]
"wan2.5-i2i-preview" = "0.2 CNY"
[upstreams.a]
region = "beijing"
key = "env:K"
[upstreams.b]
region = "singapore"
key = "env:UNSET"
[tenants.t]
region = "mars"
open = true
[tenants.u]
region = "beijing"
upstreams = ["c"]
open = true
[tenants.v]
region = "beijing"
"""


def _paths(lines: tuple[str, ...]) -> list[str]:
    """Return the key path of each line."""
    return [line.split(": ")[1] for line in lines]


def _check(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert str(caught.value) == caught.value.lines[0]
    return caught.value.lines


def test_faults_of_all_tables(tmp_path: Path) -> None:
    """Every fault inside a table is reported, also several of one table."""
    assert _paths(_check(tmp_path, _TABLES)) == [
        "extra",
        "server.hosts",
        "server.port",
        "log.level",
        "upstreams.a.region",
        "tenants.t.keys",
        "tenants.t.weight",
    ]


def test_faults_between_tables(tmp_path: Path) -> None:
    """So is every fault between tables; one that follows from another is not."""
    assert _paths(_check(tmp_path, _BETWEEN)) == [
        "upstreams.b.key",
        "prices.mars",
        "tenants.t.region",
        "tenants.u.upstreams",
        "tenants.u.open",
        "tenants.v.keys",
    ]


def test_check_prints_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` prints a line for each fault; what starts a gateway prints the first alone."""
    file = tmp_path / "g.toml"
    file.write_text(_TABLES)

    codes = [main([command, "--config", str(file)], {"K": "k"}) for command in ("check", "serve")]

    lines = capsys.readouterr().err.splitlines()
    assert codes == [2, 2]
    assert lines[0] == lines[-1]
    assert len(lines) == 7 + 1
