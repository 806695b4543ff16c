"""``[state] url``: where it may be kept, what `check` says of it, and what it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import ConfigError, load_config
from gateway.config.explain import explain
from tests.config.toml import GOOD

URL = "postgresql://wan:canary@db.internal:6432/gateway"


def test_the_url_is_a_secret(tmp_path: Path) -> None:
    """It comes from a variable or a file; neither its password nor its user is ever shown."""
    secret = tmp_path / "url"
    secret.write_text(URL + "\n")
    file = tmp_path / "g.toml"
    for reference in ("env:DATABASE", f"file:{secret}"):
        file.write_text(f'{GOOD}[state]\nurl = "{reference}"')

        config = load_config(file, {"K": "sk-1", "DATABASE": URL})

        assert config.state.url == URL
        assert "canary" not in repr(config)
        lines = explain(config).splitlines()
        assert "remembers edits in the PostgreSQL database gateway at db.internal" in lines
        assert "canary" not in explain(config)


def test_a_url_without_a_password_may_be_in_the_file(tmp_path: Path) -> None:
    """The server then knows the role by its address or certificate."""
    file = tmp_path / "g.toml"
    file.write_text(f'{GOOD}[state]\nurl = "postgres://wan@[::1]/gateway"')

    assert load_config(file, {"K": "sk-1"}).state.url == "postgres://wan@[::1]/gateway"


def test_a_url_may_name_the_standby_too(tmp_path: Path) -> None:
    """Whichever of its hosts is the primary is used; `check` names all of them."""
    file = tmp_path / "g.toml"
    file.write_text(f'{GOOD}[state]\nurl = "env:DATABASE"')
    url = "postgres://wan:canary@a.internal:5433,b.internal/gateway?target_session_attrs=primary"

    config = load_config(file, {"K": "sk-1", "DATABASE": url})

    lines = explain(config).splitlines()
    assert "remembers edits in the PostgreSQL database gateway at a.internal, b.internal" in lines
    assert "canary" not in explain(config)


WITHOUT = """
import sys

class WithoutAsyncpg:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "asyncpg":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, WithoutAsyncpg())
from gateway.cli import main
sys.exit(main([*sys.argv[1:]], {"K": "sk-1"}))
"""


@pytest.mark.parametrize("command", ["check", "edits"])
def test_without_the_extra(tmp_path: Path, command: str) -> None:
    """One line says what to install."""
    file = tmp_path / "g.toml"
    file.write_text(f'{GOOD}[state]\nurl = "postgres://db/gateway"')
    argv = [command, *(["list"] if command == "edits" else []), "--config", str(file)]

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *argv],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    remedy = "run pip install 'wan-gateway[cluster]', or remove it"
    error = f"{file}: state.url: needs a package that is not installed; {remedy}\n"
    assert (done.returncode, done.stderr) == (2, error)


def test_a_local_ledger_imports_none_of_it() -> None:
    """One machine with a file pays nothing for PostgreSQL, not even an import."""
    code = (
        "import sys; from gateway.app import create_app; "
        "from gateway.config import config_from_environ as config; "
        "create_app(config({'DASHSCOPE_API_KEY': 'k'})); "
        "sys.exit(' '.join(m for m in sys.modules if 'asyncpg' in m or 'postgres' in m) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_url_is_no_state(tmp_path: Path) -> None:
    """An empty secret is a mistake, not a local file."""
    secret = tmp_path / "url"
    secret.write_text("")
    file = tmp_path / "g.toml"
    file.write_text(f'{GOOD}[state]\nurl = "file:{secret}"')

    with pytest.raises(ConfigError, match=r"state\.url: .* is empty"):
        load_config(file, {"K": "sk-1"})
