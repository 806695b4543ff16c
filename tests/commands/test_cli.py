import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__
from gateway.cli import EXIT_CODES, main

MINIMAL = '[upstreams.main]\nregion = "beijing"\nkey = "env:K"\n[tenants.a]\nregion = "beijing"\n'


def test_check_says_what_a_config_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good config is explained, without its keys."""
    file = tmp_path / "g.toml"
    file.write_text(MINIMAL + "open = true\n")

    code = main(["check", "--config", str(file)], {"K": "sk-canary"})

    output = capsys.readouterr()
    assert code == 0
    assert output.out.startswith(f"{file} is good.\n")
    assert "canary" not in output.out + output.err


def test_check_without_a_file_reads_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    """The environment alone is a config that can be checked too."""
    code = main(["check"], {"DASHSCOPE_API_KEY": "sk-canary"})

    assert code == 0
    assert capsys.readouterr().out.startswith("environment is good.\n")


def test_bad_config_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad config ends with code 2 and nothing but its one line on stderr."""
    file = tmp_path / "g.toml"
    file.write_text(MINIMAL)

    code = main(["check", "--config", str(file)], {"K": "sk-canary"})

    output = capsys.readouterr()
    assert code == 2
    assert output.out == ""
    assert output.err == (
        f'{file}: tenants.a.keys: is missing; "wan-gateway key --tenant a" prints the line\n'
    )


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no fault: code 130, no traceback."""

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.commands.key.run", interrupted)

    assert main(["key"], {}) == 130


def test_a_closed_pipe_ends_quietly() -> None:
    """`wan-gateway check | head -1` ends without a traceback."""
    verb = "import sys; from gateway.cli import main; sys.stdin.readline(); sys.exit(main(['key']))"
    with subprocess.Popen(
        [sys.executable, "-c", verb],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.stderr
        complaint = process.stderr.read()

    assert complaint == b""
    assert process.returncode == 141


def test_what_is_left_of_the_output_goes_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its reader has left, what is still in the buffer is thrown away."""

    def cut(*_: object) -> int:
        sys.stdout.write("too late")
        raise BrokenPipeError

    monkeypatch.setattr("gateway.commands.key.run", cut)
    file = tmp_path / "out"
    with file.open("w") as out:
        monkeypatch.setattr("sys.stdout", out)

        code = main(["key"], {})

    assert code == 141
    assert file.read_text() == ""


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        pytest.param([], "the following arguments are required: COMMAND", id="no-command"),
        pytest.param(["sell"], "invalid choice: 'sell'", id="unknown-command"),
        pytest.param(
            ["serve", "--port", "99999"], "'99999' is not a port: use 0 to 65535", id="port"
        ),
        pytest.param(
            ["serve", "--port", "http"], "'http' is not a port: use 0 to 65535", id="word"
        ),
        pytest.param(["edits"], "the following arguments are required: ACTION", id="no-action"),
        pytest.param(["edits", "list", "--limit", "0"], "'0' is not a count: use", id="count"),
        pytest.param(["edits", "list", "--limit", "-1"], "'-1' is not a count: use", id="minus"),
        pytest.param(["edits", "list", "--state", "lost"], "invalid choice: 'lost'", id="state"),
        pytest.param(["sandbox", "--speed", "0"], "'0' is not a speed: use a number", id="speed"),
        pytest.param(["sandbox", "--speed", "nan"], "'nan' is not a speed: use a number", id="nan"),
    ],
)
def test_wrong_usage_is_2(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage ends with code 2 and says what is wrong."""
    with pytest.raises(SystemExit) as caught:
        main(argv, {})

    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("command", [*EXIT_CODES, "edits cancel", "results delete"])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command explains itself, and says its exit codes."""
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"], {})

    text = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0
    assert f"wan-gateway {command}" in text
    assert f"Exit codes: {EXIT_CODES[command.split(maxsplit=1)[0]]}; " in text


def test_run_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m gateway` hands the command's exit code to the process."""
    monkeypatch.setattr("sys.argv", ["gateway", "key"])

    with pytest.raises(SystemExit) as caught:
        runpy.run_module("gateway", run_name="__main__")

    assert caught.value.code == 0
    assert "wk-" in capsys.readouterr().out


def test_version() -> None:
    """`python -m gateway --version` is the same program and names its version."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"wan-gateway {__version__}\n"


def test_importing_the_command_line_brings_nothing_heavy() -> None:
    """`wan-gateway key` does not wait for a web server, an HTTP client or a picture library."""
    heavy = {"starlette", "uvicorn", "httpx", "aiohttp", "PIL", "openai", "prometheus_client"}
    program = "import sys, gateway.cli, gateway.commands.key; print(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert heavy.isdisjoint(done.stdout.split())
