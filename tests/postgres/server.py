"""A PostgreSQL server of its own for tests, and a pooler in front of it."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.ports import free_port
from tests.process import until
from tests.programs import cannot, found

USER = "postgres"


def _binary(name: str) -> str:
    """Return the path of a program of the newest server; Debian keeps those out of PATH."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    newest = sorted(folders, key=lambda folder: float(folder.parent.name))
    at = next((folder / name for folder in reversed(newest) if (folder / name).exists()), None)
    return str(at or found(name) or cannot(f"not installed: {name}"))


class PostgresServer:
    """
    A server on loopback, in a temporary folder, that ends with this process.

    Args:
        primary: The URL of another one, whose standby this one is to be.
    """

    def __init__(self, primary: str | None = None) -> None:
        # Not in pytest's folders, which another user cannot enter.
        self.folder = Path(tempfile.mkdtemp(prefix="wan-gateway-"))
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        self.port = free_port()
        self._numbers = count()
        if os.geteuid() == 0:  # the server refuses to run as root
            for path in (self.folder, self.data):
                shutil.chown(path, USER)
        if primary is None:
            initdb = [_binary("initdb"), "-D", self.data, "-U", USER, "-A", "trust", "--no-sync"]
            self._run(*initdb, "-E", "UTF8", "--no-locale")
        else:
            copy = [_binary("pg_basebackup"), "-D", self.data, "-d", primary, "--no-sync"]
            self._run(*copy, "--write-recovery-conf", "--checkpoint=fast")
        self.start()

    def start(self) -> None:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": 60,
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                [*_as_user("--pdeathsig", "QUIT"), _binary("postgres"), "-D", self.data, *options],
                stderr=log,
                cwd="/",
            )
        until(self._is_ready)

    def stop(self) -> None:
        """End it at once, as a crash does."""
        self._popen.send_signal(signal.SIGQUIT)
        self._popen.wait(60)

    def promote(self) -> None:
        """Make a standby the primary."""
        (row,) = execute(self.url("postgres"), "SELECT pg_promote() AS done")
        assert row["done"]

    def create(self, owner: str = USER) -> str:
        """Create an empty database; return its URL."""
        name = f"test_{next(self._numbers)}"
        execute(self.url("postgres"), f"CREATE DATABASE {name} OWNER {owner}")
        return self.url(name)

    def url(self, database: str, user: str = USER) -> str:
        return f"postgres://{user}@127.0.0.1:{self.port}/{database}"

    def require_passwords(self) -> None:
        """Let only *USER* in without a password."""
        rules = f"host all {USER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        self.stop()
        (self.data / "pg_hba.conf").write_text(rules)
        self.start()

    def remove(self) -> None:
        """End it and delete its folder; twice is as good as once."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        assert self._popen.poll() is None, (self.folder / "log").read_text()
        pid_file = self.data / "postmaster.pid"
        lines = pid_file.read_text().split("\n") if pid_file.exists() else []
        return len(lines) > 7 and lines[7].strip() in {"ready", "standby"}

    def _run(self, *program: object) -> None:
        command = [*_as_user(), *map(str, program)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")


def _as_user(*options: str) -> list[str]:
    """Return the prefix of a command that the server's user has to run, if we are root."""
    if os.geteuid() != 0:
        return ["setpriv", *options] if options and found("setpriv") else []
    user = pwd.getpwnam(USER)
    names = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return ["setpriv", *names, *options]


_shared_server = cache(PostgresServer)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Return the server that all tests of this process share."""
    server = _shared_server()
    yield server
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """Return the URL of an empty database of its own."""
    return postgres_server.create()


@contextmanager
def own_server() -> Iterator[PostgresServer]:
    """Run a server that a test may stop."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


def execute(url: str, sql: str) -> list[Any]:
    """Do as another program would, wherever an event loop runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, fetch(url, sql)).result()


async def fetch(url: str, sql: str, *values: object) -> list[Any]:
    """Do the same on an event loop."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()


@contextmanager
def pooler(server: PostgresServer, folder: Path) -> Iterator[str]:
    """Run pgbouncer in transaction mode in front of *server*; yield the URL of ``postgres``."""
    port = free_port()
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port} user={USER}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n"
        "server_reset_query_always = 0\n"
    )
    if os.geteuid() == 0:  # it refuses to run as root, too
        for path in (folder, *folder.parents):
            if path.is_relative_to(tempfile.gettempdir()) and path != Path(tempfile.gettempdir()):
                path.chmod(path.stat().st_mode | 0o055)
    log = folder / "log"
    with log.open("wb") as file:
        program = found("pgbouncer") or cannot("not installed: pgbouncer")
        running = subprocess.Popen(
            [*_as_user("--pdeathsig", "TERM"), program, config], stderr=file, cwd="/"
        )

    def listens() -> bool:
        assert running.poll() is None, log.read_text()
        return "listening on" in log.read_text()

    try:
        until(listens)
        yield f"postgres://{USER}@127.0.0.1:{port}/postgres"
    finally:
        running.terminate()
        running.wait(60)
