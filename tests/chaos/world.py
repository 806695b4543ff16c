"""The processes of a chaos run: regions that stay, a gateway that dies, customers that ask."""

import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path

from tests.chaos.calls import customer_key
from tests.chaos.region import LIMITS, upstream_key
from tests.chaos.wishes import REGION_BY_TENANT
from tests.ports import free_port

_ROOT = Path(__file__).parents[2]
_DRAIN_SECONDS = 2
_FALLS = 10


class GatewayProcess:
    """The real program on a config and a ledger; `kill` and `drain` start the next one at once."""

    def __init__(self, folder: Path, region_urls: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ledger = folder / "ledger.db"
        self.kills = self.drains = self.fell_over = 0
        self.met_by_kills: Counter[str] = Counter()
        """How many tasks of each state the ledger held open at a kill, over all kills."""
        self._folder = folder
        self._config = folder / "gateway.toml"
        self._config.write_text(self._written(region_urls))
        self._clock = folder / "clock"
        self.set_clock(0.0)
        self._log = (folder / "gateway.log").open("ab")
        self._process = self._started()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self.met_by_kills.update(self._open_tasks())
        self._process = self._started()

    def drain(self) -> None:
        """End it by SIGTERM, as a deployment does, and wait for that."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)
        self.drains += 1
        self._process = self._started()

    def look_after(self) -> None:
        """Start it again, and remember that, if it ended by itself."""
        if self._process.poll() is not None:
            self.fell_over += 1
            if self.fell_over > _FALLS:
                raise RuntimeError(f"The gateway does not stay up: see {self._folder}/gateway.log")
            self._process = self._started()

    def set_clock(self, offset: float) -> None:
        """Let its calendar clock be *offset* seconds off from now on."""
        if not self._clock.exists():
            self._clock.write_bytes(struct.pack("d", offset))
        with self._clock.open("r+b") as file:
            file.write(struct.pack("d", offset))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        environ |= {f"CHAOS_{r.upper()}": upstream_key(r) for r in REGION_BY_TENANT.values()}
        environ |= {"CHAOS_CLOCK": str(self._clock)}
        shim = Path(__file__).parent / "clock_shim"
        environ["PYTHONPATH"] = os.pathsep.join([str(shim), str(_ROOT)])
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--config", str(self._config)],
            env=environ,
            cwd=self._folder,
            stdout=self._log,
            stderr=self._log,
        )

    def _open_tasks(self) -> dict[str, int]:
        """Read, from a copy, what the dead process had begun."""
        copy = self._folder / "at-kill.db"
        for end in ("", "-wal"):
            file = Path(f"{self.ledger}{end}")
            if file.exists():
                shutil.copy(file, f"{copy}{end}")
        if not copy.exists():
            return {}
        with closing(sqlite3.connect(copy)) as connection:
            try:
                rows = connection.execute(
                    "SELECT tasks.state, count(*) FROM tasks JOIN edits USING (edit_id) "
                    "WHERE edits.state = 'open' GROUP BY tasks.state"
                ).fetchall()
            except sqlite3.OperationalError:  # killed before it had made its tables
                rows = []
        for end in ("", "-wal", "-shm"):
            Path(f"{copy}{end}").unlink(missing_ok=True)
        return dict(rows)

    def _written(self, region_urls: dict[str, str]) -> str:
        lines = [
            "[server]",
            f"port = {self.port}",
            f"drain_seconds = {_DRAIN_SECONDS}",
            "[state]",
            f'path = "{self.ledger}"',
        ]
        for tenant, region in REGION_BY_TENANT.items():
            digest = sha256(customer_key(tenant).encode()).hexdigest()
            lines += [
                f"[regions.{region}]",
                f'base_url = "{region_urls[region]}/api/v1"',
                f"[upstreams.{region}]",
                f'region = "{region}"',
                f'key = "env:CHAOS_{region.upper()}"',
                f"submits_per_second = {LIMITS.submits_per_second}",
                f"running_tasks = {LIMITS.running_tasks}",
                f"polls_per_second = {LIMITS.task_calls_per_second}",
                "pending_ahead = 2",
                f"[tenants.{tenant}]",
                f'keys = ["sha256:{digest}"]',
                f'region = "{region}"',
            ]
        return "\n".join(lines) + "\n"


def start_customers(
    folder: Path,
    url: str,
    *,
    seed: int,
    processes: int,
    each: int,
) -> list["subprocess.Popen[str]"]:
    """
    Start so many processes of *each* customers, and wait until they are ready to ask.

    `let_go` says how long they may; then their notes lie in ``notes-*.jsonl``.
    """
    crowd = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.chaos.customers", "--url", url),
                *("--seed", f"{seed}.{number}", "--customers", str(each)),
                *("--notes", str(folder / f"notes-{number}.jsonl")),
            ],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for process in crowd:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return crowd


def let_go(crowd: "list[subprocess.Popen[str]]", *, until: float, give_up: float) -> None:
    """Let them want something new until one epoch second, and ask again until the other."""
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write(f"{until} {give_up}\n")
        process.stdin.flush()


@contextmanager
def regions(seed: int) -> Iterator[dict[str, str]]:
    """Run the simulated DashScope in a process of its own; yield the regions' URLs by name."""
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.region", "--seed", str(seed)],
                cwd=_ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        said = process.stdout
        yield {region: said.readline().strip() for region in REGION_BY_TENANT.values()}


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)
