"""``wan-gateway reload``: what it prints, and its exit codes; the process is played here."""

import os
import signal
from argparse import Namespace
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.commands import reload
from gateway.config import ConfigError
from gateway.observe.process_file import ProcessFile, process_file_of


def config(folder: Path, state: str = "gateway.db") -> Path:
    file = folder / "g.toml"
    path = state if state == "memory" else folder / state
    file.write_text(f'[state]\npath = "{path}"\n')
    return file


def process_file(folder: Path) -> ProcessFile:
    return ProcessFile(process_file_of(folder / "gateway.db", ""))


def test_a_config_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGHUP goes to the process; what it says is printed, and the code is 0."""
    sent: list[tuple[int, int]] = []
    with process_file(tmp_path) as file:

        def kill(pid: int, number: int) -> None:
            sent.append((pid, number))
            file.begin()
            file.end(outcome="The config is reloaded.")

        code = reload.run(Namespace(config=config(tmp_path)), {}, kill=kill)

    assert (code, capsys.readouterr().out) == (0, "The config is reloaded.\n")
    assert sent == [(os.getpid(), signal.SIGHUP)]


def test_a_config_that_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason goes to standard error, and the code is 1."""
    with process_file(tmp_path) as file:

        def kill(_: int, __: int) -> None:
            file.begin()
            file.end(refusal="g.toml: server.port: cannot be changed")

        code = reload.run(Namespace(config=config(tmp_path)), {}, kill=kill)

    assert (code, capsys.readouterr().err) == (
        1,
        "g.toml: server.port: cannot be changed\nThe config that was in force stays in force.\n",
    )


def test_a_reload_that_runs_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its outcome is not ours: it may have read the file before it was written."""
    with process_file(tmp_path) as file:
        file.begin()

        def kill(_: int, __: int) -> None:
            file.end(outcome="of the first")
            file.begin()
            file.end(outcome="of the second")

        code = reload.run(Namespace(config=config(tmp_path)), {}, kill=kill)

    assert (code, capsys.readouterr().out) == (0, "of the second\n")


@pytest.mark.parametrize("state", ["gateway.db", "memory"])
def test_no_gateway_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str) -> None:
    """It is said in one line where a gateway was looked for, and what to do; the code is 1."""
    file = config(tmp_path, state)

    code = main(["reload", "--config", str(file)], {})

    error = capsys.readouterr().err
    assert code == 1
    assert error.startswith(f"{file}: no gateway runs here with this config (no process holds ")
    assert error.endswith("start one with serve, or send SIGHUP to its process yourself\n")


def test_a_process_that_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is waited for, but not for ever."""
    with process_file(tmp_path):
        code = reload.run(
            Namespace(config=config(tmp_path)), {}, seconds=0.2, kill=lambda _, __: None
        )

    assert code == 1
    assert "has ended, or did not answer in 0.2 s" in capsys.readouterr().err


def test_a_process_that_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That it is gone is noticed at once."""
    with process_file(tmp_path) as file:
        code = reload.run(
            Namespace(config=config(tmp_path)), {}, kill=lambda _, __: file.__exit__()
        )

    assert code == 1
    assert "has ended" in capsys.readouterr().err


def test_a_process_of_another_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the system refuses is said."""

    def refused(_: int, __: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with process_file(tmp_path):
        code = reload.run(Namespace(config=config(tmp_path)), {}, kill=refused)

    assert code == 1
    assert "cannot be signalled (Operation not permitted)" in capsys.readouterr().err


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Something else where the file should be is a mistake, with exit code 2."""
    process_file_of(tmp_path / "gateway.db", "").symlink_to(tmp_path)

    with pytest.raises(ConfigError, match="run this as the user who runs the gateway"):
        reload.run(Namespace(config=config(tmp_path)), {})


def test_a_config_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command itself says so: it cannot know where the gateway is."""
    file = tmp_path / "g.toml"
    file.write_text("[state")

    assert main(["reload", "--config", str(file)], {}) == 2
    assert "is not valid TOML" in capsys.readouterr().err
