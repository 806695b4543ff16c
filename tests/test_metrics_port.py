import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.process import GatewayProcess, client, edit, ready, refused_start, region, tables, until

pytestmark = pytest.mark.slow

_TOKEN = "canary-of-the-scraper"


def _with_metrics(text: str, *lines: str) -> str:
    return "\n".join([text, "[metrics]", *lines])


def _get(url: str, token: str = "") -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.get(url, headers=headers, timeout=30, trust_env=False)


def test_a_port_of_their_own(tmp_path: Path) -> None:
    """Metrics are on their port until the last edit has ended, and never on the main one."""
    port = free_port()
    page = f"http://127.0.0.1:{port}/metrics"
    running = 'wan_gateway_tasks_in_flight{region="beijing",state="running"} 1.0'
    with (
        region(7.0) as region_url,
        GatewayProcess(
            tmp_path, _with_metrics(tables(tmp_path, region_url), f"port = {port}")
        ) as process,
    ):
        assert process.logged("metrics_listening")[0]["url"] == f"http://127.0.0.1:{port}"
        assert _get(f"{process.url}/metrics").status_code == 404
        assert _get(f"http://127.0.0.1:{port}/readyz").status_code == 404
        with client(process, lambda: running in _get(page).text) as answer:
            process.send(signal.SIGTERM)
            until(lambda: ready(process) == 503)
            draining = _get(page)

            assert draining.status_code == 200
            assert "wan_gateway_draining 1.0" in draining.text
            assert answer.result(60).status_code == 200
        assert process.end() == 0
        with pytest.raises(httpx.ConnectError):
            _get(page)


def test_a_token(tmp_path: Path) -> None:
    """The token of a file opens the metrics on the main port, and nothing else does."""
    (tmp_path / "token").write_text(f"{_TOKEN}\n")
    lines = f'token = "file:{tmp_path / "token"}"'
    with GatewayProcess(tmp_path, _with_metrics(tables(tmp_path), lines)) as process:
        url = f"{process.url}/metrics"

        assert [_get(url).status_code, _get(url, "wrong").status_code] == [401, 401]
        assert "wan_gateway_ready 1.0" in _get(url, _TOKEN).text
        assert edit(process, authorization=f"Bearer {_TOKEN}").status_code == 401
        process.send(signal.SIGTERM)
        assert process.end() == 0
        assert _TOKEN not in str(process.lines)


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    """A port of the metrics that another program has stops the start; exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        code, logged = refused_start(tmp_path, _with_metrics(tables(tmp_path), f"port = {port}"))

    assert (code, logged) == (
        2,
        (
            f"g.toml: metrics.port: cannot listen on 127.0.0.1:{port} "
            "(Address already in use); choose another with metrics.port, "
            "or 0 for server.port\n"
        ),
    )
