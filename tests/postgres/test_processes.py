"""`wan-gateway serve` with its ledger in PostgreSQL, as processes that die and come after."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.postgres.server import execute, own_server
from tests.process import (
    GatewayProcess,
    client,
    edit,
    has_running_task,
    ready,
    refused_start,
    region,
    tables,
    until,
)

pytestmark = pytest.mark.slow


def _tasks(region_url: str) -> int:
    return len(httpx.get(f"{region_url}/_sandbox/books", trust_env=False).json()["tasks"])


def test_after_a_death_the_next_process_delivers(tmp_path: Path, postgres_url: str) -> None:
    """A SIGKILL between submit and answer: the retry gets the picture of the one task."""
    with region(3.0) as url:
        config = tables(tmp_path, url, database=postgres_url)
        with ThreadPoolExecutor(1) as pool, GatewayProcess(tmp_path, config) as process:
            broken = pool.submit(edit, process)
            until(lambda: has_running_task(process))
            process.send(signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                broken.result()
        with GatewayProcess(tmp_path, config) as process:
            answer = edit(process, **{"x-stainless-retry-count": "1"})
            process.send(signal.SIGTERM)
            assert process.end() == 0

        assert answer.status_code == 200
        assert _tasks(url) == 1


def test_a_second_gateway_stops(tmp_path: Path, postgres_url: str) -> None:
    """One line that names the first, exit code 2; the first goes on."""
    with region(0.1) as url:
        config = tables(tmp_path, url, database=postgres_url)
        with GatewayProcess(tmp_path, config) as process:
            code, logged = refused_start(tmp_path, config, silent=False)

            assert code == 2
            assert logged.startswith(
                "g.toml: state.url: PostgreSQL: another gateway works on this database ("
            )
            assert logged.endswith("); stop that one, or name another database\n")
            assert edit(process).status_code == 200
            process.send(signal.SIGTERM)
            assert process.end() == 0


def test_whose_ledger_is_taken_ends(tmp_path: Path, postgres_url: str) -> None:
    """It answers who is connected, says why in the log, and exits with 1 to be started again."""
    with (
        region(1.0) as url,
        GatewayProcess(tmp_path, tables(tmp_path, url, database=postgres_url)) as process,
        client(process) as answer,
    ):
        execute(postgres_url, "UPDATE wan_gateway.leases SET holder = 'thief'")

        assert answer.result().status_code == 200
        assert process.end() == 1
        assert process.logged("ledger_lost")


def test_a_server_that_is_away_at_the_start(tmp_path: Path) -> None:
    """It is waited for: alive and not ready, then it serves; no request is lost on the way."""
    with own_server() as server, region(0.1) as url:
        database = server.create()
        server.stop()
        config = tables(tmp_path, url, database=database, port=free_port())
        with GatewayProcess(tmp_path, config, ready="waiting") as process:
            health = httpx.get(f"{process.url}/healthz", trust_env=False)
            assert (health.status_code, ready(process)) == (200, 503)
            refused = edit(process)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "ledger_unavailable"
            assert refused.headers["x-should-retry"] == "true"
            (away,) = process.logged("ledger_away")
            assert away["reason"].startswith("PostgreSQL cannot be reached (")

            server.start()
            until(lambda: bool(process.logged("listening")))
            until(lambda: ready(process) == 200)
            assert edit(process).status_code == 200
            process.send(signal.SIGTERM)
            assert process.end() == 0


def test_a_signal_ends_the_wait(tmp_path: Path) -> None:
    """Nothing runs yet, so it ends at once."""
    database = f"postgres://postgres@127.0.0.1:{free_port()}/postgres"
    config = tables(tmp_path, database=database)
    with GatewayProcess(tmp_path, config, ready="waiting") as process:
        process.send(signal.SIGTERM)

        assert process.end() == 0
        assert not process.logged("listening")


def test_a_server_that_goes_away(tmp_path: Path) -> None:
    """What runs is delivered meanwhile; what comes waits for it, and is submitted once."""
    with own_server() as server, region(2.0) as url:
        config = tables(tmp_path, url, database=server.create())
        with GatewayProcess(tmp_path, config) as process, ThreadPoolExecutor(1) as pool:
            with client(process) as running:
                server.stop()
                later = pool.submit(edit, process)
                assert running.result().status_code == 200
                assert _tasks(url) == 1
                threading.Event().wait(1)
                server.start()
            assert later.result().status_code == 200
            assert _tasks(url) == 2
            until(lambda: ready(process) == 200)
            process.send(signal.SIGTERM)
            assert process.end() == 0
        rows = execute(server.url("test_0"), "SELECT state, delivered FROM wan_gateway.edits")
        assert [tuple(row) for row in rows] == [("succeeded", True)] * 2
