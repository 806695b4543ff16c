import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.commands import top
from gateway.commands.top import Update
from gateway.config import ConfigError
from tests.browser.harness import TOKEN, DashboardHarness, start_dashboard_harness
from tests.downstream.harness import FakeClock
from tests.harness import eventually

ENVIRON = {"TOKEN": TOKEN}  # the keys of its upstreams are no business of who watches
_DEAD = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def harness() -> Iterator[DashboardHarness]:
    """A gateway at work, whose dashboard asks for its token."""
    with start_dashboard_harness(
        {"on": True, "token": "env:TOKEN"}, low=200.0, high=240.0
    ) as harness:
        for tenant in ("acme", "tiny", "tiny"):
            harness.edit(tenant)

        async def at_work() -> bool:
            seen = harness.gateway.service.snapshot()
            return seen.running.total == 2 and seen.waiting.total == 1

        harness.threaded.run(eventually(at_work))
        yield harness


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "gateway", "top", *words]


@contextmanager
def running(words: list[str], **more: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Run *words*; Ctrl-C reaches it even where this test's own process was told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(words, **more)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()  # where it has ended, nothing


def test_one_look(harness: DashboardHarness, capsys: pytest.CaptureFixture[str]) -> None:
    """--once prints what goes on and ends."""
    code = main(["top", "--url", f"{harness.url}/", "--token", "env:TOKEN", "--once"], ENVIRON)

    output = capsys.readouterr().out
    assert code == 0
    assert "2 running, 1 waiting" in output
    assert "acme-main" in output
    assert TOKEN not in output


def test_without_a_terminal(harness: DashboardHarness, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody could see a second look, one is printed."""
    assert main(["top", "--url", harness.url, "--token", "env:TOKEN"], ENVIRON) == 0

    assert capsys.readouterr().out.count("wan-gateway http") == 1


def test_one_look_as_json(harness: DashboardHarness, capsys: pytest.CaptureFixture[str]) -> None:
    """--json --once prints one line that programs read."""
    reported = ["top", "--url", harness.url, "--token", "env:TOKEN", "--json", "--once"]

    assert main(reported, ENVIRON) == 0

    # The gateway of this test logs to the same output.
    (line,) = [it for it in capsys.readouterr().out.splitlines() if it.startswith("{")]
    state = json.loads(line)
    assert state["edits"]["running"]["total"] == 2
    assert state["edits"]["tenants"]["total"] == 4


def test_by_a_config(
    harness: DashboardHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A config tells where its gateway serves and what its token is."""
    port = harness.url.rpartition(":")[2]
    file = tmp_path / "gateway.toml"
    file.write_text(
        f"""
[server]
host = "0.0.0.0"
port = {port}
[dashboard]
on = true
token = "env:TOKEN"
[upstreams.main]
region = "beijing"
key = "env:K"
[tenants.acme]
region = "beijing"
keys = ["sha256:{"0" * 64}"]
"""
    )

    assert main(["top", "--config", str(file), "--once"], ENVIRON) == 0
    assert f"http://127.0.0.1:{port}" in capsys.readouterr().out


def test_an_address_of_ipv6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An IPv6 address becomes a URL as URLs write it."""
    file = tmp_path / "gateway.toml"
    file.write_text(
        '[server]\nhost = "::1"\nport = 9\n'
        '[upstreams.main]\nregion = "beijing"\nkey = "env:K"\n'
        '[tenants.any]\nregion = "beijing"\nopen = true\n'
    )

    assert main(["top", "--config", str(file), "--once"], ENVIRON) == 1
    assert capsys.readouterr().err.startswith("http://[::1]:9: ")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        pytest.param(["--url", _DEAD], 1, f"{_DEAD}: ", id="nobody there"),
        pytest.param(["--url", "gw"], 2, 'top: --url: got "gw"; use a URL such as', id="no URL"),
        pytest.param(
            ["--token", TOKEN],
            2,
            'top: --token: is not a reference to a key; use "env:NAME" or "file:PATH"',
            id="a token for a reference",
        ),
        pytest.param(["--token", "env:NONE"], 2, "NONE is not set", id="no such variable"),
    ],
)
def test_wrong_usage(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot work ends with one line that says what to do, and never with the token."""
    assert main(["top", "--once", *words], ENVIRON) == code

    output = capsys.readouterr().err
    assert says in output
    assert len(output.splitlines()) == 1
    assert TOKEN not in output


def test_a_wrong_token(harness: DashboardHarness, capsys: pytest.CaptureFixture[str]) -> None:
    """A gateway that refuses the token ends it with exit code 2 and what to do."""
    assert main(["top", "--url", harness.url], {}) == 2

    assert "give --token env:NAME" in capsys.readouterr().err


def test_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the package rich it says which extra to install, exit code 2."""
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delitem(sys.modules, "gateway.commands.top_screen", raising=False)

    assert main(["top"], {}) == 2
    assert 'pip install "wan-gateway[top]"' in capsys.readouterr().err


def test_another_package_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only rich is told to be installed: a bug of ours stays one."""

    def fail(_: str) -> Any:
        raise ModuleNotFoundError("other", name="other")

    monkeypatch.setattr(top, "import_module", fail)

    with pytest.raises(ModuleNotFoundError, match="other"):
        main(["top"], {})
    assert not issubclass(ModuleNotFoundError, ConfigError)


def test_a_trouble_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """While the gateway is away, --json writes nothing: each line is a state."""
    with top._lines(True, FakeClock()) as write:
        write(Update("http://gw", {"now": 1.0}))
        write(Update("http://gw", {"now": 1.0}, error="refused"))

    assert capsys.readouterr().out == '{"now": 1.0}\n'


def test_lines_of_json(harness: DashboardHarness) -> None:
    """--json alone writes a line for each change until Ctrl-C, which ends it with 130."""
    words = command("--url", harness.url, "--token", "env:TOKEN", "--json")
    with running(
        words, env={**os.environ, **ENVIRON}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        harness.edit("abroad")
        second = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)

    assert second["now"] > first["now"]
    assert complaint == b""
    assert process.returncode == 130


def test_on_a_terminal(harness: DashboardHarness) -> None:
    """On a terminal it has a screen of its own, and gives it back at Ctrl-C."""
    ours, theirs = pty.openpty()
    os.set_inheritable(theirs, True)
    environ = {**os.environ, **ENVIRON, "TERM": "xterm-256color", "COLUMNS": "150", "LINES": "50"}
    words = command("--url", harness.url, "--token", "env:TOKEN")
    with running(
        words,
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen, live = bytearray(), threading.Event()

        def read() -> None:
            try:
                while piece := os.read(ours, 65536):
                    seen.extend(piece)
                    if b"running upstream" in seen:
                        live.set()
            except OSError:  # the terminal's other end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        assert live.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        reader.join()
    os.close(ours)

    assert b"\x1b[?1049h" in seen
    assert b"\x1b[?1049l" in seen
    assert b"Traceback" not in seen
