"""What a reload changes, and what only a restart does."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, ConfigError
from gateway.config.build import build
from gateway.config.changes import Changes, changes_between, refuse_fixed
from gateway.config.reference import config_keys

HASH = "sha256:" + "0" * 64
OTHER_HASH = "sha256:" + "1" * 64
SECRET = "s" * 40
ENVIRON = {"ONE": "sk-one", "TWO": "sk-two", "SECRET": SECRET, "OTHER": "t" * 40}
TABLES: Mapping[str, Any] = {
    "upstreams": {"main": {"region": "beijing", "key": "env:ONE"}},
    "tenants": {"acme": {"keys": [HASH]}},
}


def config(tables: Mapping[str, Any] = TABLES, environ: Mapping[str, str] = ENVIRON) -> Config:
    return build("g.toml", tables, environ)


def changed(path: str, value: Any, tables: Mapping[str, Any] = TABLES) -> dict[str, Any]:
    """Return *tables* with another value at *path*."""
    changed = deepcopy(dict(tables))
    *above, key = path.split("/")
    table = changed
    for name in above:
        table = table.setdefault(name, {})
    table[key] = value
    return changed


def test_equal_configs() -> None:
    """Between two readings of one file nothing has changed."""
    changes = changes_between(config(), config())

    assert changes == Changes()
    assert not changes


@pytest.mark.parametrize(
    ("path", "value", "changes"),
    [
        ("tenants/acme/keys", [HASH, OTHER_HASH], Changes(changed=("tenants.acme.keys",))),
        ("tenants/acme/weight", 3, Changes(added=("tenants.acme.weight",))),
        ("tenants/initech", {"keys": [OTHER_HASH]}, Changes(added=("tenants.initech",))),
        ("log", {"level": "debug"}, Changes(added=("log",))),
        ("upstreams/main/key", "env:TWO", Changes(changed=("upstreams.main.key",))),
        ("models/wan2.6-image", {"n": 2}, Changes(added=("models",))),
        ("accounts", {}, Changes(added=("accounts",))),
    ],
)
def test_key_paths(path: str, value: Any, changes: Changes) -> None:
    """A change is named by its key's path; a new table by its own."""
    new = config(changed(path, value))

    assert changes_between(config(), new) == changes
    assert bool(changes)


def test_what_is_removed() -> None:
    """What the new config has no more is named like what it has more."""
    old = config(changed("tenants/initech", {"keys": [OTHER_HASH]}))

    assert changes_between(old, config()) == Changes(removed=("tenants.initech",))


def test_keys_are_spelled_as_in_toml() -> None:
    """A name with dots is quoted."""
    tables = changed("models/wan2.6-image", {"n": 2})

    old, new = config(tables), config(changed("models/wan2.6-image/n", 3, tables))

    assert changes_between(old, new) == Changes(changed=('models."wan2.6-image".n',))


def test_a_table_becomes_another_kind() -> None:
    """A value in place of a table is one key more and the keys of the table less."""
    one = config(changed("prices", {"beijing": {"wan2.6-image": "1 CNY"}}))
    other = config(changed("prices", {}))

    assert changes_between(one, other).removed == ("prices.beijing",)


def test_renewed_secrets(tmp_path: Path) -> None:
    """A secret that is another one has changed, though its reference is the same."""
    (tmp_path / "key").write_text("sk-first")
    results = {"store": f"folder:{tmp_path}", "public_url": "https://a.example"}
    tables = {
        **changed("upstreams/main/key", f"file:{tmp_path / 'key'}"),
        "metrics": {"token": "env:METRICS"},
        "dashboard": {"on": True, "token": "env:DASHBOARD"},
        "results": {**results, "secret": "env:RESULTS", "previous_secret": "env:BEFORE"},
    }
    names = ("METRICS", "DASHBOARD", "RESULTS", "BEFORE")
    old = config(tables, {name: f"{name}-{SECRET}" for name in names})
    (tmp_path / "key").write_text("sk-second")
    new = config(tables, {name: f"{name}-renewed-{SECRET}" for name in names})

    changes = changes_between(old, new)

    assert changes == Changes(
        changed=(
            "dashboard.token",
            "metrics.token",
            "results.previous_secret",
            "results.secret",
            "upstreams.main.key",
        )
    )
    assert "renewed" not in repr(changes)
    assert "sk-" not in repr(changes)
    refuse_fixed(old, new)


def test_every_secret_is_compared() -> None:
    """Each key that says where a secret is kept can be renewed, or needs a restart."""
    compared = {"upstreams.NAME.key", "metrics.token", "dashboard.token"}
    compared |= {"results.secret", "results.previous_secret"}
    kept = {key.path for key in config_keys() if "env:NAME" in key.takes and key.live}

    assert kept == compared


FIXED = [
    ("server.host", "server/host", "127.0.0.2"),
    ("server.port", "server/port", 9),
    ("state.path", "state/path", "memory"),
    ("state.sync", "state/sync", "full"),
    ("metrics.port", "metrics/port", 9),
    ("dashboard.on", "dashboard/on", True),
    ("models.wan2.6-image.family", "models/wan2.6-image/family", "synthesis"),
    ("models.wan2.6-image.tasks", "models/wan2.6-image/tasks", False),
]


@pytest.mark.parametrize(("key", "path", "value"), FIXED)
def test_what_only_a_restart_changes(key: str, path: str, value: Any) -> None:
    """It is refused by its key's path, with what to do; so is putting it back."""
    old, new = config(), config(changed(path, value))

    for one, other in ((old, new), (new, old)):
        with pytest.raises(ConfigError) as refused:
            refuse_fixed(one, other)
        assert str(refused.value).replace('"', "") == (
            f"g.toml: {key}: cannot be changed while the gateway runs; "
            "restart the gateway, or put it back"
        )


def test_a_default_that_is_written_down() -> None:
    """What is said in other words is no change of a key that needs a restart."""
    refuse_fixed(config(), config(changed("server/port", 8080)))


def test_fixed_secrets(tmp_path: Path) -> None:
    """The headers of traces are fixed, too, and no secret is in the refusal."""
    tables = {**TABLES, "traces": {"headers": {"authorization": "env:ONE"}}}

    with pytest.raises(ConfigError, match=r"^g.toml: traces.headers: cannot") as refused:
        refuse_fixed(config(tables), config(tables, {**ENVIRON, "ONE": "sk-three"}))

    assert "sk-" not in str(refused.value)


def test_a_new_model() -> None:
    """A model may come and go while the gateway runs."""
    model = {"family": "messages", "pixels": [1, 9], "edits": True, "images": [1, 3]}

    refuse_fixed(config(), config(changed("models/new", model)))
    refuse_fixed(config(changed("models/new", model)), config())
