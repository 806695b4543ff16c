"""`edits`, `doctor` and `check` with a ledger in PostgreSQL."""

import asyncio
import signal
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.cli import main
from gateway.commands import doctor
from gateway.domain.clock import SystemClock
from gateway.ledger.errors import LedgerError
from gateway.ledger.postgres_reading import describe, refuse_if_held
from tests.harness import KEY, UPSTREAM_KEY
from tests.ledger.records import EDIT, FIRST, SECOND
from tests.ports import free_port
from tests.postgres.ledgers import opened
from tests.postgres.server import PostgresServer, execute
from tests.process import GatewayProcess, client, region, tables

_ENVIRON = {"KEY": UPSTREAM_KEY, "CUSTOMER": KEY}


def _run(folder: Path, *argv: str) -> int:
    return main([*argv, "--config", str(folder / "g.toml")], _ENVIRON)


@pytest.fixture
def folder(tmp_path: Path, postgres_url: str) -> Path:
    """A config and a ledger with two edits: of now, and of three hours ago."""
    (tmp_path / "g.toml").write_text(tables(tmp_path, database=postgres_url))
    asyncio.run(_write(postgres_url))
    return tmp_path


async def _write(url: str) -> None:
    now = SystemClock().epoch()
    async with opened(url) as ledger:
        for name, age in (("edit_old", 3 * 3600), ("edit_young", 0)):
            edit = replace(EDIT, edit_id=name, created=now - age, idempotency_key=None)
            await ledger.intend(edit, FIRST)
            await ledger.intend(edit, SECOND)
        await ledger.accept("edit_young", 0, "main", "task-1")


def test_edits_are_listed_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As from a file: the newest first, by filters, and by the beginning of an id."""
    assert _run(folder, "edits", "list") == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in listed[1:]] == ["edit_young", "edit_old"]

    assert _run(folder, "edits", "list", "--since", "90m", "--tenant", "acme") == 0
    assert "edit_old" not in capsys.readouterr().out
    assert _run(folder, "edits", "show", "youn") == 0
    assert "task-1" in capsys.readouterr().out
    assert _run(folder, "edits", "show", "edit_nobody") == 1


def test_a_new_database_has_no_edits(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No gateway has created its tables yet: that is no error, and nobody holds it."""
    (tmp_path / "g.toml").write_text(tables(tmp_path, database=postgres_url))

    assert _run(tmp_path, "edits", "list") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    refuse_if_held(postgres_url)


def test_check_finds_edits_that_nobody_could_follow(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It looks into the database, as the start does."""
    assert _run(folder, "check") == 2
    assert "upstreams: 2 open edits of the account acme-cn" in capsys.readouterr().err


def test_check_without_the_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The config is good all the same; the warning has no password in it."""
    url = f"postgres://wan@127.0.0.1:{free_port()}/gateway"
    (tmp_path / "g.toml").write_text(tables(tmp_path, database=url))

    assert _run(tmp_path, "check") == 0
    assert "the ledger cannot be read: PostgreSQL: cannot be read (" in capsys.readouterr().out


def test_edits_without_the_database(
    tmp_path: Path, postgres_server: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the key, exit code 2."""
    url = postgres_server.url("nowhere")
    (tmp_path / "g.toml").write_text(tables(tmp_path, database=url))

    assert _run(tmp_path, "edits", "list") == 2
    assert capsys.readouterr().err == (
        f"{tmp_path / 'g.toml'}: state.url: PostgreSQL: cannot be read "
        '(database "nowhere" does not exist); see that it runs and that the URL is right\n'
    )


def test_doctor_asks_the_database(
    tmp_path: Path,
    postgres_server: PostgresServer,
    postgres_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A row with the server's version and how long a statement takes; or what is wrong."""
    listed = {"request_id": "r", "data": [], "total": 0, "total_page": 0}
    region_ = httpx.MockTransport(lambda _: httpx.Response(200, json=listed))
    for url, code, text in (
        (postgres_url, 0, "ms a statement"),
        (postgres_server.url("nowhere"), 1, 'database "nowhere" does not exist'),
    ):
        (tmp_path / "g.toml").write_text(tables(tmp_path, database=url))

        assert doctor.run(Namespace(config=tmp_path / "g.toml"), _ENVIRON, region_) == code
        row = capsys.readouterr().out.splitlines()[-1]
        assert row.startswith("state.url")
        assert text in row
    with pytest.raises(LedgerError):
        describe(postgres_server.url("nowhere"))


@pytest.mark.slow
def test_cancel_beside_a_gateway_and_without_one(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gateway that holds the lease is asked; without one, DashScope."""
    with region(4.0) as url:
        config = tables(tmp_path, url, database=postgres_url)
        with GatewayProcess(tmp_path, config) as process, client(process) as answer:
            rows = execute(postgres_url, "SELECT edit_id FROM wan_gateway.edits")
            argv = ("edits", "cancel", rows[0]["edit_id"], "--key", "env:CUSTOMER")
            assert _run(tmp_path, *argv, "--url", process.url) == 1
            assert "runs or has ended: not cancelled" in capsys.readouterr().out
            assert answer.result().status_code == 200
            process.send(signal.SIGTERM)
            assert process.end() == 0
        # As if it had died before its task ended.
        execute(postgres_url, "UPDATE wan_gateway.edits SET state = 'open'")
        assert _run(tmp_path, "edits", "cancel", rows[0]["edit_id"]) == 1
        assert capsys.readouterr().out.startswith(
            "No gateway runs, so DashScope was called directly."
        )
