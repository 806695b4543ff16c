import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from gateway.cli import main
from gateway.commands import doctor, sandbox
from gateway.config import load_config
from tests.harness import photo
from tests.process import GatewayProcess

PORTS = ["--beijing-port", "0", "--singapore-port", "0"]


@pytest.fixture
def welcome() -> Iterator[str]:
    """What a running sandbox said when it opened; it is ended with SIGINT."""
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "sandbox", *PORTS, "--speed", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        lines = []
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, "ended early"
            lines.append(line)
        yield "".join(lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_what_it_prints_works(
    welcome: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed tables and keys are a config that the doctor finds well."""
    tables = textwrap.dedent(welcome[welcome.index("  [regions.beijing]") :])
    environ = dict(re.findall(r"export (\w+)=(\S+)", welcome))
    file = tmp_path / "g.toml"
    file.write_text(f'{tables}\n[tenants.any]\nregion = "beijing"\nopen = true\n')

    code = doctor.run(Namespace(config=file), environ)

    assert code == 0, capsys.readouterr().out
    assert sorted(load_config(file, environ).upstreams) == ["beijing", "singapore"]


@pytest.mark.slow
def test_what_sandbox_and_key_print_is_one_config(
    welcome: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pasted into one file, as printed, it passes the check, is served, and edits a picture."""
    main(["key", "--tenant", "acme"], {})
    logged = capsys.readouterr().out
    key, lines = re.findall(r"wk-\S+", logged)[0], logged.partition("For the config:\n")[2]
    for name, value in re.findall(r"export (\w+)=(\S+)", welcome):
        monkeypatch.setenv(name, value)
    place = f'[server]\nport = 0\n[state]\npath = "{tmp_path / "gateway.db"}"\n'
    pasted = place + welcome[welcome.index("  [regions.beijing]") :] + lines

    with GatewayProcess(tmp_path, pasted) as process:
        checked = main(["check", "--config", str(tmp_path / "g.toml")], os.environ)
        answer = httpx.post(
            f"{process.url}/v1/images/edits",
            data={"prompt": "make it sepia"},
            files={"image": ("a.png", photo(), "image/png")},
            headers={"authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
        )
        process.send(signal.SIGTERM)
        process.end()

    assert checked == 0
    assert "tenant acme: 1 key; beijing by beijing" in capsys.readouterr().out
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("speed", "says"),
    [
        (1.0, "An edit takes about 45 s, as with DashScope; wan-gateway sandbox --speed 20 is"),
        (20.0, "An edit takes about 2.2 s at --speed 20."),
    ],
)
def test_how_long_an_edit_takes(
    speed: float, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever waits for a first edit knows for how long, and how to wait less."""
    args = Namespace(
        host="127.0.0.1",
        beijing_port=0,
        singapore_port=0,
        speed=speed,
        seed=0,
        faults=None,
        keys=None,
    )

    async def serve(_: Sequence[tuple[ASGIApp, socket.socket]]) -> None: ...

    assert sandbox.run(args, {}, serve) == 0
    assert says in capsys.readouterr().out


def test_keys_belong_to_one_region(welcome: str) -> None:
    """The key of one region is refused by the other, as with DashScope."""
    url, key = re.findall(r"^(?:beijing|singapore) +(\S+)  key (\S+)$", welcome, re.MULTILINE)[0]

    def status(of: str) -> int:
        return httpx.get(f"{url}/tasks", headers={"authorization": f"Bearer {of}"}).status_code

    assert status(key) == 200
    assert status(key.replace("beijing", "singapore")) == 401


def test_a_taken_port(capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use is named, with the option to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code = main(["sandbox", "--beijing-port", str(port)], {})

    assert code == 2
    assert capsys.readouterr().err == (
        f"--beijing-port: cannot listen on 127.0.0.1:{port} (Address already in use); "
        "take another, or 0\n"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("[", "is not JSON: Expecting value: line 1 column 2 (char 1)", id="no-json"),
        pytest.param("{}", "is not a list; put the faults between [ and ]", id="no-list"),
        pytest.param("[1]", "[0]: is not an object; put it between { and }", id="no-object"),
        pytest.param(
            '[{"on": "query", "do": "forget"}, {"on": "lunch"}]',
            "[1]: fault.on: 'lunch' is none of",
            id="unknown-operation",
        ),
    ],
)
def test_bad_faults(
    tmp_path: Path, text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in the faults' file stops the start with one line."""
    file = tmp_path / "faults.json"
    file.write_text(text)

    code = main(["sandbox", "--faults", str(file), *PORTS], {})

    logged = capsys.readouterr().err
    assert code == 2
    assert logged.startswith(f"{file}: {complaint}")
    assert logged.count("\n") == 1


def test_no_faults_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is named."""
    file = tmp_path / "no.json"

    code = main(["sandbox", "--faults", str(file), *PORTS, "--speed", "2"], {})

    assert code == 2
    assert capsys.readouterr().err == (
        f"{file}: cannot be read (No such file or directory); fix --faults\n"
    )


def test_faults_are_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Faults, speed and seed reach both regions, each on its own socket."""
    file = tmp_path / "faults.json"
    file.write_text('[{"on": "list", "do": "answer", "status": 503, "code": "Busy"}]')
    args = Namespace(
        host="127.0.0.1",
        beijing_port=0,
        singapore_port=0,
        speed=2.0,
        seed=3,
        faults=file,
        keys=None,
    )
    keys = ["sk-sandbox-beijing", "sk-sandbox-singapore"]
    found: list[tuple[int, str]] = []

    async def serve(places: Sequence[tuple[ASGIApp, socket.socket]]) -> None:
        for app, listener in places:
            assert listener.getsockname()[1] > 0
            region = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=region, base_url="http://it") as http:
                answer = await http.get(
                    "/api/v1/tasks", headers={"authorization": f"Bearer {keys.pop(0)}"}
                )
            found.append((answer.status_code, answer.json()["code"]))

    code = sandbox.run(args, {}, serve)

    assert code == 0
    assert found == [(503, "Busy"), (503, "Busy")]
    assert "Ctrl-C ends it." in capsys.readouterr().out
