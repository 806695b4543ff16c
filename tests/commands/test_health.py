import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.cli import _parser, main
from gateway.commands import health
from tests.ports import free_port


@contextmanager
def _serving(statuses: dict[str, int]) -> Iterator[int]:
    """Answer each path with its status, and nothing for others; yield the port."""

    class HealthHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[self.path])
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), HealthHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def _config(folder: Path, port: int) -> Path:
    file = folder / "g.toml"
    file.write_text(f"[server]\nport = {port}\n[state]\nwrong = 1\n")
    return file


def _process(folder: Path, *words: str) -> Path:
    """Make a folder of processes with one process in it, number 7."""
    (folder / "7" / "cwd").mkdir(parents=True)
    (folder / "7" / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
    return folder


def _of_process(processes: Path) -> int:
    return health.run(_parser().parse_args(["health", "--pid", "7"]), {}, processes)


@pytest.mark.parametrize(
    ("option", "status", "code"),
    [
        pytest.param([], 200, 0, id="lives"),
        pytest.param([], 500, 1, id="answers-an-error"),
        pytest.param(["--ready"], 200, 0, id="ready"),
        pytest.param(["--ready"], 503, 1, id="drains"),
    ],
)
def test_it_asks_where_the_config_says(
    tmp_path: Path,
    option: list[str],
    status: int,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The config's port is asked, without a proxy, and the answer is the exit code."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    path = "/readyz" if option else "/healthz"
    with _serving({path: status}) as port:
        found = main(["health", "--config", str(_config(tmp_path, port)), *option], {})

    output = capsys.readouterr()
    assert found == code
    word = "ok" if code == 0 else f"answered {status}"
    assert (output.err if code else output.out) == f"http://127.0.0.1:{port}{path}: {word}\n"


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """A gateway that does not run is 1, in one line."""
    url = f"http://127.0.0.1:{free_port()}"

    assert main(["health", "--url", url], {}) == 1
    assert capsys.readouterr().err.startswith(f"{url}: no answer (")


def test_a_wrong_url_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """What is no URL is wrong usage."""
    assert main(["health", "--url", "here"], {}) == 2
    assert "--url" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["serve", "--config", "g.toml"], id="relative to its folder"),
        pytest.param(["serve", "--config=g.toml", "--abandon"], id="one word"),
        pytest.param(["serve", "--port", "PORT"], id="its own port"),
        pytest.param(["serve", "--host", "0.0.0.0", "--port=PORT"], id="all addresses"),
    ],
)
def test_it_follows_a_process(tmp_path: Path, words: list[str]) -> None:
    """With --pid the port is that of the process: by its options, else by its config."""
    with _serving({"/healthz": 200}) as port:
        words = [word.replace("PORT", str(port)) for word in words]
        processes = _process(tmp_path, "/usr/bin/python", "/usr/bin/wan-gateway", *words)
        _config(processes / "7" / "cwd", port)

        assert _of_process(processes) == 0


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["/usr/bin/postgres", "-D", "serve-me"], id="another program"),
        pytest.param(["wan-gateway", "sandbox"], id="another command"),
        pytest.param(["wan-gateway", "server"], id="begins alike"),
    ],
)
def test_another_process_is_unwell(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that is not the gateway is 1, and named."""
    assert _of_process(_process(tmp_path, *words)) == 1
    assert capsys.readouterr().err == "process 7: is not wan-gateway serve\n"


def test_no_such_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A process that has gone is 1."""
    assert _of_process(tmp_path) == 1
    assert "process 7: cannot be read" in capsys.readouterr().err
