import re
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.config import load_config

UP = '[upstreams.main]\nregion = "beijing"\nkey = "env:K"\n'


def test_prints_a_key_once_and_what_the_config_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines for the config, pasted, let in the key that was printed."""
    code = main(["key", "--tenant", "acme"], {})

    output = capsys.readouterr().out
    (key,) = re.findall(r"wk-[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])", output)
    lines = output.partition("For the config:\n")[2]
    file = tmp_path / "g.toml"
    file.write_text(f'{UP}{lines}\nregion = "beijing"\n')
    config = load_config(file, {"K": "sk-x"})
    assert code == 0
    assert config.tenant_by_key == {sha256(key.encode()).digest(): "acme"}
    assert output.count(key) == 1


def test_without_a_tenant_only_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """For a table that is there already, only the line is printed."""
    main(["key"], {})

    output = capsys.readouterr().out
    assert re.search(r'^  keys = \["sha256:[0-9a-f]{64}"\]$', output, re.MULTILINE)
    assert "[tenants" not in output


def test_every_key_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    """No key is made twice."""
    main(["key"], {})
    first = capsys.readouterr().out

    main(["key"], {})

    assert capsys.readouterr().out != first


def test_a_tenant_that_no_config_would_take(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that the config would refuse is refused here."""
    code = main(["key", "--tenant", "Acme Corp"], {})

    assert code == 2
    assert capsys.readouterr().err == (
        "--tenant: is not a valid name; use up to 63 of a-z, 0-9, _ and -\n"
    )
