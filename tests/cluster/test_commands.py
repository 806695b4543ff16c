"""`doctor` and `edits` show the nodes of a cluster, from their rows in the database."""

import asyncio
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.cli import main
from gateway.cluster.assembly import shared_config
from gateway.commands import doctor
from gateway.config import load_config_to_run
from gateway.domain.clock import SystemClock
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres_database import Database
from gateway.ledger.postgres_nodes import NodeTable
from gateway.ledger.postgres_reading import read_nodes, read_owners
from tests.harness import KEY, UPSTREAM_KEY
from tests.ledger.records import EDIT, FIRST
from tests.postgres.server import PostgresServer, execute
from tests.process import tables

_ENVIRON = {"KEY": UPSTREAM_KEY, "CUSTOMER": KEY, "SECRET": "a-secret-of-the-nodes"}
_CLUSTER = """
        [cluster]
        node = "a"
        url = "http://127.0.0.1:9"
        secret = "env:SECRET"
"""


def _config(folder: Path, database: str) -> Path:
    file = folder / "g.toml"
    file.write_text(tables(folder, database=database) + _CLUSTER)
    return file


def _doctor(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Return the exit code, and the rows about the database and the nodes."""
    listed = {"request_id": "r", "data": [], "total": 0, "total_page": 0}
    region = httpx.MockTransport(lambda _: httpx.Response(200, json=listed))
    code = doctor.run(Namespace(config=file), _ENVIRON, region)
    rows = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    return code, [row for row in rows if row.startswith(("state.url", "cluster", "node"))]


async def _show(url: str, nodes: Mapping[str, str]) -> None:
    """Show nodes by their configs, as each does once a second; the first one has edits."""
    first, *_ = nodes
    async with Database(url, SystemClock(), node=first, lease_seconds=60.0) as database:
        await database.prepare()
        ledger = PostgresLedger(database, ["main"], home_of={EDIT.tenant: "main"})
        await ledger.take()
        await ledger.intend(
            replace(EDIT, edit_id="edit_owned", created=SystemClock().epoch()),
            replace(FIRST, account="main"),
        )
        for name, config in nodes.items():
            table = NodeTable(
                database.reader,
                node=name,
                url=f"http://{name}:8080",
                version="1.2",
                config=config,
                lease_seconds=60.0,
            )
            await table.look(takes=name != "c")


def test_doctor_lists_the_nodes(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with where it is reached and what it owns; one that drains says so."""
    file = _config(tmp_path, postgres_url)
    assert _doctor(file, capsys)[1][1:] == ["cluster no node runs yet"]

    own = shared_config(load_config_to_run(file, _ENVIRON))
    asyncio.run(_show(postgres_url, {"a": own, "c": own}))
    code, (database, *rows) = _doctor(file, capsys)

    assert code == 0
    assert database.startswith("state.url PostgreSQL")
    assert rows == [
        "node a http://a:8080, version 1.2, owns main",
        "node c http://c:8080, version 1.2, owns no account, drains",
    ]


def test_doctor_finds_what_is_wrong_with_nodes(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A config that differs, a node that is gone, and an account that nobody owns."""
    file = _config(tmp_path, postgres_url)
    own = shared_config(load_config_to_run(file, _ENVIRON))
    asyncio.run(_show(postgres_url, {"a": own, "b": "other"}))
    code, rows = _doctor(file, capsys)
    assert code == 1
    assert rows[2].endswith("owns no account; its config differs from this one")

    execute(postgres_url, "UPDATE wan_gateway.nodes SET seen = seen - interval '1 min'")
    execute(postgres_url, "UPDATE wan_gateway.leases SET until = '-infinity'")
    code, rows = _doctor(file, capsys)
    assert code == 1
    assert "owns no account; not seen for 6" in rows[1]
    assert rows[1].endswith(" s: it has died, or lost the database")
    assert rows[-1] == "cluster no node owns main: its edits wait until one does"


def test_edits_name_their_node(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the list, and of one edit; without an owner there is no column."""
    file = str(_config(tmp_path, postgres_url))
    asyncio.run(_show(postgres_url, {"a": "c"}))

    assert main(["edits", "list", "--config", file], _ENVIRON) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert (head.split()[-1], row.split()[-1]) == ("NODE", "a")
    assert main(["edits", "show", "owned", "--config", file], _ENVIRON) == 0
    assert ["node", "a"] in [it.split() for it in capsys.readouterr().out.splitlines()]

    execute(postgres_url, "UPDATE wan_gateway.leases SET until = '-infinity'")
    assert main(["edits", "list", "--config", file], _ENVIRON) == 0
    assert "NODE" not in capsys.readouterr().out


def test_before_any_node_ran(postgres_server: PostgresServer) -> None:
    """A database without tables has no nodes, and owns nothing."""
    url = postgres_server.create()

    assert read_nodes(url) == []
    assert read_owners(url, ["edit_1"]) == {}
