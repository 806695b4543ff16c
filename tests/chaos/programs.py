"""The processes of a chaos run: regions that stay, a gateway that dies, clients that ask."""

import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import httpx

from tests.chaos.calls import customer_key
from tests.chaos.region import LIMITS, REGIONS, account_of, upstream_keys
from tests.chaos.wishes import HELD, ON_SHARED_ACCOUNT, REGION_BY_TENANT
from tests.ports import free_port

_ROOT = Path(__file__).parents[2]
_DRAIN_SECONDS = 8
_FALLS = 10
_START_SECONDS = 60.0


class ChaosGateway:
    """The real program on a config and a ledger; `kill` and `drain` start the next one at once."""

    def __init__(self, folder: Path, region_urls: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ledger = folder / "ledger.db"
        self.kills = 0
        self.drains = 0
        self.renames = 0
        self.slept: list[float] = []
        self.fell_over = 0
        self.met_by_kills: Counter[str] = Counter()
        """How many tasks of each state the ledger held open at a kill, over all kills."""
        self._folder = folder
        self._config = folder / "gateway.toml"
        self._region_urls = region_urls
        self._write_config()
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

    def rename(self) -> None:
        """End it by SIGKILL, and start the next one with other upstreams of the same accounts."""
        self._process.kill()
        self._process.wait()
        self.renames += 1
        self._write_config()
        self._process = self._started()

    def sleep(self, seconds: float) -> None:
        """Stop it and its monotonic clock in whatever it does, as a machine that sleeps does."""
        self._process.send_signal(signal.SIGSTOP)
        pause(seconds)
        self.slept.append(seconds)
        self._write_clock()
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def draining(self) -> Iterator[None]:
        """End it by SIGTERM, as a deployment does; wait for that after the block."""
        self._process.send_signal(signal.SIGTERM)
        yield
        self._process.wait(timeout=60)
        self.drains += 1
        self._process = self._started()

    def until_ready(self) -> None:
        """Wait until it takes edits, so that what comes next meets some: a start can be slow."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=5.0, trust_env=False).is_success:
                    break
            pause(0.1)

    def look_after(self) -> None:
        """Start it again, and remember that, if it ended by itself."""
        if self._process.poll() is not None:
            self.fell_over += 1
            if self.fell_over > _FALLS:
                raise RuntimeError(f"The gateway does not stay up: see {self._folder}/gateway.log")
            self._process = self._started()

    def set_clock(self, offset: float) -> None:
        """Let its calendar clock be *offset* seconds off from now on."""
        self._offset = offset
        self._write_clock()

    def _write_clock(self) -> None:
        if not self._clock.exists():
            self._clock.write_bytes(struct.pack("dd", 0.0, 0.0))
        with self._clock.open("r+b") as file:
            file.write(struct.pack("dd", self._offset, sum(self.slept)))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        for account in {account_of(tenant) for tenant in REGION_BY_TENANT}:
            for number, key in enumerate(upstream_keys(account)):
                environ[f"CHAOS_{account.upper()}_{number}"] = key
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

    def _write_config(self) -> None:
        """Write its config; the upstreams have another name and another order each time."""
        lines = [
            "[server]",
            f"port = {self.port}",
            f"drain_seconds = {_DRAIN_SECONDS}",
            "[state]",
            f'path = "{self.ledger}"',
        ]
        for region in REGIONS:
            lines += [f"[regions.{region}]", f'base_url = "{self._region_urls[region]}/api/v1"']
        accounts = {account_of(tenant): REGION_BY_TENANT[tenant] for tenant in REGION_BY_TENANT}
        for account, region in accounts.items():
            lines += self._upstreams(account, region)
        for tenant, region in REGION_BY_TENANT.items():
            digest = sha256(customer_key(tenant).encode()).hexdigest()
            names = ", ".join(f'"{name}"' for name in self._names(account_of(tenant)))
            lines += [
                f"[tenants.{tenant}]",
                f'keys = ["sha256:{digest}"]',
                f'region = "{region}"',
                f"upstreams = [{names}]",
                *(['equal_edits = "join"'] if tenant == HELD else []),
            ]
        lines += [f"[accounts.{account_of(ON_SHARED_ACCOUNT)}]", "shared = true"]
        self._config.write_text("\n".join(lines) + "\n")

    def _names(self, account: str) -> list[str]:
        names = [f"{account}-{self.renames}-{number}" for number in range(2)]
        return names[::-1] if self.renames % 2 else names

    def _upstreams(self, account: str, region: str) -> list[str]:
        lines = []
        for name in self._names(account):
            lines += [
                f"[upstreams.{name}]",
                f'region = "{region}"',
                f'account = "{account}"',
                f'key = "env:CHAOS_{account.upper()}_{name[-1]}"',
                f"submits_per_second = {LIMITS.submits_per_second}",
                f"running_tasks = {LIMITS.running_tasks}",
                f"polls_per_second = {LIMITS.task_calls_per_second}",
                "pending_ahead = 2",
            ]
        return lines


def start_customers(
    folder: Path,
    url: str,
    *,
    seed: int,
    processes: int,
    each: int,
) -> list["subprocess.Popen[str]"]:
    """
    Start so many processes of *each* clients, and wait until they are ready to ask.

    `write_line` says when they begin, and how long they may ask; then their notes lie in
    ``notes-*.jsonl``.
    """
    crowd = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.chaos.customers", "--url", url),
                *("--seed", f"{seed}.{number}", "--clients", str(each)),
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


def write_line(crowd: "list[subprocess.Popen[str]]", line: str) -> None:
    """Write to all of them: an empty line to begin; then when to give up, to want nothing new."""
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
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
        output = process.stdout
        yield {region: output.readline().strip() for region in REGIONS}


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)
