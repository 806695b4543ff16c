import subprocess
from pathlib import Path

import pytest

from gateway.cli import main


def _script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell], {}) == 0
    return capsys.readouterr().out


def _completed(script: str, words: list[str], folder: Path) -> set[str]:
    """Return what bash offers for the last of *words*."""
    (folder / "script").write_text(script)
    program = (
        'source ./script; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        "_shtab_wan_gateway; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "-c", program, "bash", "wan-gateway", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param(["c"], {"check", "completion"}, id="a command"),
        pytest.param(["edits", "s"], {"show"}, id="an action"),
        pytest.param(["edits", "list", "--st"], {"--state"}, id="an option"),
        pytest.param(["edits", "list", "--state", "s"], {"succeeded"}, id="a value"),
        pytest.param(["check", "--config", "gate"], {"gateway.toml"}, id="a file"),
        pytest.param(["demo", "--out", "pic"], {"pictures"}, id="a folder"),
    ],
)
def test_bash_completes(
    words: list[str], offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bash itself offers commands, actions, options, values, files and folders."""
    (tmp_path / "gateway.toml").touch()
    (tmp_path / "picture.png").touch()
    (tmp_path / "pictures").mkdir()

    assert _completed(_script("bash", capsys), words, tmp_path) == offered


@pytest.mark.parametrize(
    ("shell", "first"),
    [
        pytest.param("zsh", "#compdef wan-gateway", id="zsh"),
        pytest.param("fish", "complete -c wan-gateway", id="fish"),
    ],
)
def test_other_shells_have_a_script(
    shell: str, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scripts of zsh and fish are for this program, and name its newest command."""
    script = _script(shell, capsys)

    assert first in script
    assert "completion" in script
