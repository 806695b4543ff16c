import re
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.config import Config, config_keys, load_config

EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.toml"))
_OF_A_NODE = {
    "WAN_GATEWAY_DATABASE": "postgres://wan_gateway@db.internal/wan_gateway",
    "WAN_GATEWAY_SECRET": "0123456789abcdef01234567",
    "NODE_NAME": "a",
    "NODE_URL": "http://10.0.0.5:8080",
}
FULL = next(file for file in EXAMPLES if file.name == "gateway.toml")


def _load(file: Path) -> Config:
    variables = re.findall(r"env:([A-Z_]+)", file.read_text("utf-8"))
    return load_config(file, dict.fromkeys(variables, "sk-example") | _OF_A_NODE)


def test_examples_ship() -> None:
    """The folder holds the full file, the least one, and those for tenants, image and cluster."""
    assert [file.name for file in EXAMPLES] == [
        "cluster.toml",
        "container.toml",
        "gateway.toml",
        "minimal.toml",
        "multi-tenant.toml",
    ]


@pytest.mark.parametrize("file", [pytest.param(file, id=file.stem) for file in EXAMPLES])
def test_example_is_good(file: Path) -> None:
    """Every shipped config loads once its variables are set."""
    config = _load(file)

    assert config.tenants


def test_commented_defaults_are_the_defaults(tmp_path: Path) -> None:
    """gateway.toml with every commented key switched on means the same as without."""
    shipped = FULL.read_text("utf-8")
    # A URL takes the place of two other keys.
    key = re.compile(
        r"^# (?!url = )(?=(\[regions|\[accounts|\[tenants\.acme\.|\[models|[a-z_]+ = ))",
        re.MULTILINE,
    )
    full = tmp_path / "gateway.toml"
    full.write_text(key.sub("", shipped), "utf-8")

    as_shipped, spelled_out = _load(FULL), _load(full)

    for part in (
        "server",
        "state",
        "log",
        "dashboard",
        "models",
        "catalogs",
        "regions",
        "accounts",
        "tenants",
    ):
        assert getattr(spelled_out, part) == getattr(as_shipped, part)


def test_full_example_names_every_key() -> None:
    """gateway.toml leaves out no key of the schema, but those of a cluster: it is for one node."""
    shipped = FULL.read_text("utf-8")

    for known in config_keys():
        table, _, name = known.path.rpartition(".")
        if name != "NAME" and table != "cluster":
            assert re.search(rf"^(# )?{name} = ", shipped, re.MULTILINE), known.path


def test_example_hashes_open_nothing() -> None:
    """No key that someone might try has the hash of an example."""
    config = _load(FULL)

    for guess in (b"", b"test", b"wk-test", b"sk-test", b"secret", b"password"):
        assert sha256(guess).digest() not in config.tenant_by_key
