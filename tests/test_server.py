"""gateway.server: where it listens, how it drains and stops, and what stops its start."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.config import Config, ConfigError, config_from_environ
from gateway.domain.clock import SystemClock
from gateway.ledger.open import open_stores
from gateway.ledger.sqlite_schema import only_holder
from gateway.server import listen, url_of
from tests.harness import KEY, UPSTREAM_KEY
from tests.ledger.records import EDIT, FIRST
from tests.ports import free_port
from tests.process import GatewayProcess, client, edit, ready, refused_start, region, tables, until

ANY = config_from_environ({"DASHSCOPE_API_KEY": UPSTREAM_KEY})


def _at(host: str, port: int = 0) -> Config:
    return replace(ANY, server=replace(ANY.server, host=host, port=port))


# ---------------------------------------------------------------- listening


@pytest.mark.parametrize(
    ("host", "url"),
    [
        pytest.param("127.0.0.1", "http://127.0.0.1:", id="an address"),
        pytest.param("localhost", "http://127.0.0.1:", id="a name, its IPv4 address first"),
        pytest.param("::1", "http://[::1]:", id="IPv6"),
        pytest.param("[::1]", "http://[::1]:", id="IPv6 as URLs write it"),
    ],
)
def test_listens_at(host: str, url: str) -> None:
    """Host and port are opened at once; port 0 takes a free one."""
    with listen(_at(host)) as listener:
        taken = listener.getsockname()[1]

        assert url_of(listener) == f"{url}{taken}"
        with socket.create_connection((host.strip("[]"), taken), timeout=5):
            pass


def test_all_of_ipv6_takes_ipv4_too() -> None:
    """One gateway at :: serves clients of both kinds."""
    with listen(_at("::")) as listener:
        port = listener.getsockname()[1]

        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=5):
                pass


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("no.such.host.invalid", id="unknown name"),
        pytest.param("203.0.113.1", id="an address of another machine"),
        pytest.param("a" * 70, id="no name at all"),
    ],
)
def test_no_address_to_listen_on(host: str) -> None:
    """A wrong host is one line."""
    with pytest.raises(ConfigError) as caught:
        listen(_at(host, 8080))

    logged = str(caught.value)
    assert logged.startswith(f"environment: server.port: cannot listen on {host}:8080 (")
    assert "\n" not in logged


# ---------------------------------------------------------------- the process


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="Ctrl-C")]
)
def test_idle_it_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """Without edits a signal ends it, with code 0 and a line for each step."""
    with GatewayProcess(tmp_path, tables(tmp_path)) as process:
        assert ready(process) == 200

        process.send(number)

        assert process.end() == 0  # it waits for less than server.drain_seconds
        events = [line["event"] for line in process.lines if line["logger"] == "gateway.server"]
        assert events == ["listening", "draining", "stopped"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="Ctrl-C")]
)
def test_running_edits_are_delivered(tmp_path: Path, number: signal.Signals) -> None:
    """From the signal on new edits are refused; the one that runs is answered; then it ends."""
    with (
        region(7.0) as region_url,
        GatewayProcess(tmp_path, tables(tmp_path, region_url)) as process,
        client(process) as answer,
    ):
        process.send(number)
        until(lambda: ready(process) == 503)
        refused = edit(process, **{"idempotency-key": "another"})

        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "server_is_draining"
        assert answer.result(60).status_code == 200
        assert len(answer.result().json()["data"]) == 1
        assert process.end() == 0
        assert process.logged("draining")[0]["edits"] == 1
        assert not process.logged("turned_away")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "signals"),
    [
        pytest.param({}, [signal.SIGTERM, signal.SIGTERM], id="a second SIGTERM"),
        pytest.param({}, [signal.SIGINT, signal.SIGINT], id="a second Ctrl-C"),
        pytest.param({"drain_seconds": 0.5}, [signal.SIGTERM], id="the grace is over"),
    ],
)
def test_remaining_clients_are_turned_away(
    tmp_path: Path, server: Mapping[str, object], signals: list[signal.Signals]
) -> None:
    """Who still waits gets an error that says how to get the picture later."""
    with (
        region(50.0) as region_url,
        GatewayProcess(tmp_path, tables(tmp_path, region_url, **server)) as process,
        client(process) as answer,
    ):
        for number in signals:
            process.send(number)
            until(lambda: bool(process.logged("draining")))

        reported = answer.result(60)
        assert reported.status_code == 503
        assert reported.json()["error"]["code"] == "still_running"
        assert reported.headers["x-wan-edit-id"] in reported.text
        assert reported.headers["x-should-retry"] == "true"
        assert process.end() == 0
        assert process.logged("turned_away")[0]["edits"] == 1


@pytest.mark.slow
def test_nobody_waits_for_who_watches(tmp_path: Path) -> None:
    """Streams of the dashboard show the drain, end by themselves, and hold up no stop."""
    text = f"{tables(tmp_path)}\n[dashboard]\non = true\n"
    with (
        GatewayProcess(tmp_path, text) as process,
        httpx.Client(trust_env=False, timeout=100) as http,
        http.stream("GET", f"{process.url}/dashboard/events") as one,
        http.stream("GET", f"{process.url}/dashboard/events") as two,
    ):
        lines = one.iter_lines()
        assert [next(lines) for _ in range(3)][2].startswith('data: {"now"')

        process.send(signal.SIGTERM)

        assert list(lines)[-3:] == ["event: end", "data: {}", ""]
        assert "event: end" in list(two.iter_lines())
        assert process.end() == 0
        assert not any("shutdown exceeded" in line["event"] for line in process.lines)


@pytest.mark.slow
def test_a_third_signal_cuts_who_hangs(tmp_path: Path) -> None:
    """A body that never comes holds the process for some seconds; a third signal, not at all."""
    with GatewayProcess(tmp_path, tables(tmp_path)) as process:
        url = httpx.URL(process.url)
        with socket.create_connection((url.host, url.port or 0)) as hanging:
            hanging.sendall(
                b"POST /v1/images/edits HTTP/1.1\r\nhost: it\r\ncontent-length: 99\r\n"
                b"content-type: application/json\r\nauthorization: Bearer %b\r\n"
                b"expect: 100-continue\r\n\r\n" % KEY.encode()
            )
            assert hanging.recv(99).startswith(b"HTTP/1.1 100 ")  # the body is waited for
            process.send(signal.SIGTERM)
            until(lambda: bool(process.logged("draining")))
            # Two kinds: two pending signals of one kind are one.
            process.send(signal.SIGTERM)
            process.send(signal.SIGINT)

            assert process.end() == 0
            assert not any("shutdown exceeded" in line["event"] for line in process.lines)


@pytest.mark.slow
def test_other_signals_end_nothing(tmp_path: Path) -> None:
    """What rotates logs is logged, SIGHUP reloads the config; the process serves on."""
    with GatewayProcess(tmp_path, tables(tmp_path)) as process:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
            process.send(number)
            assert ready(process) == 200
        until(lambda: len(process.logged("signal_ignored")) == 2)
        until(lambda: len(process.logged("config_reloaded")) == 1)
        process.send(signal.SIGTERM)

        assert process.end() == 0
        reported = [line["signal"] for line in process.logged("signal_ignored")]
        assert reported == ["SIGUSR1", "SIGUSR2"]


@pytest.mark.slow
def test_a_reload_without_a_process_file(tmp_path: Path) -> None:
    """That it cannot be written is logged, and SIGHUP reloads all the same."""
    (tmp_path / "gateway.db.process").mkdir()
    with GatewayProcess(tmp_path, tables(tmp_path)) as process:
        until(lambda: len(process.logged("no_process_file")) == 1)
        process.send(signal.SIGHUP)
        until(lambda: len(process.logged("config_reloaded")) == 1)
        process.terminate()

        assert process.end() == 0


@pytest.mark.slow
def test_a_log_that_nobody_reads(tmp_path: Path) -> None:
    """Standard output and standard error are one full pipe: all is served, and it ends well."""
    port = free_port()
    (tmp_path / "g.toml").write_text(tables(tmp_path, port=port))
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--config", str(tmp_path / "g.toml")],
        env={**os.environ, "KEY": UPSTREAM_KEY},
        stdout=write,
        stderr=write,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:
            until(lambda: answers(http) or process.poll() is not None)
            os.set_blocking(write, False)
            with suppress(BlockingIOError):
                while True:
                    os.write(write, b"x" * 4096)
            os.set_blocking(write, True)
            for _ in range(20):
                assert http.get("/v1/models").status_code == 401
        process.terminate()

        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)
        os.close(read)
        os.close(write)


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


CRASH = """
import sys
from gateway.app import build
from gateway.config import config_from_environ, listen_at
from gateway.domain.clock import SystemClock
from gateway.server import run

class Broken(SystemClock):
    async def sleep(self, seconds):
        raise OSError("no time left for Bearer sk-canary")

config = listen_at(config_from_environ({"DASHSCOPE_API_KEY": "sk-canary"}), port=0)
sys.exit(run(config, make=lambda config: build(config, clock=Broken())))
"""


@pytest.mark.slow
def test_a_crash_ends_the_process(tmp_path: Path) -> None:
    """What breaks gateway.edits ends all: exit code 1, one line with the cause and no key."""
    done = subprocess.run(
        [sys.executable, "-c", CRASH],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stderr) == (1, "")
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["event"], last["level"]) == ("crashed", "critical")
    assert "OSError" in last["bug"]
    assert "no time left" not in done.stdout
    assert "canary" not in done.stdout


# ---------------------------------------------------------------- what stops the start


@pytest.mark.slow
def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    """The address that another program has is named; exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        code, logged = refused_start(tmp_path, tables(tmp_path, port=port))

    assert (code, logged) == (
        2,
        (
            f"g.toml: server.port: cannot listen on 127.0.0.1:{port} "
            "(Address already in use); choose another with --port (0: a free one) or "
            "server.port\n"
        ),
    )


@pytest.mark.slow
def test_a_held_ledger_is_one_line(tmp_path: Path) -> None:
    """A second process on one ledger does not start; exit code 2, no traceback."""
    file = tmp_path / "gateway.db"
    with only_holder(file):
        code, logged = refused_start(tmp_path, tables(tmp_path))

    assert (code, logged) == (
        2,
        (
            f"g.toml: state.path: {file}: is in use by process {os.getpid()}; "
            "stop that one, or name another file in [state] path\n"
        ),
    )


@pytest.mark.slow
def test_a_strange_ledger_is_one_line(tmp_path: Path) -> None:
    """Another program's database is left as it is; exit code 2, no traceback."""
    file = tmp_path / "gateway.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()

    code, logged = refused_start(tmp_path, tables(tmp_path))

    assert (code, logged.count("\n")) == (2, 1)
    assert logged.startswith(f"g.toml: state.path: {file}: is another program's database; ")


@pytest.mark.slow
def test_open_edits_that_nobody_could_follow_are_one_line(tmp_path: Path) -> None:
    """A start without any key of an open edit's account is refused; exit code 2, no traceback."""

    async def leave_open() -> None:
        path = str(tmp_path / "gateway.db")
        async with open_stores(path, "normal", SystemClock()).ledger as ledger:
            await ledger.intend(EDIT, FIRST)

    asyncio.run(leave_open())

    code, logged = refused_start(tmp_path, tables(tmp_path))

    assert (code, logged.count("\n")) == (2, 1)
    assert logged.startswith(
        f"g.toml: upstreams: 1 open edit of the account {FIRST.account} in beijing"
    )
    assert "--abandon" in logged
