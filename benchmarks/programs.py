"""The programs of a benchmark: started, waited for, looked at, and ended by their ids."""

import contextlib
import hashlib
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
READY_SECONDS = 60.0
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""As installed: pip compiles what it installs, so no start should compile anything."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """How a program is started; what it says goes to a file, as it would in a service."""

    words: tuple[str, ...]
    port: int
    folder: Path
    env: tuple[tuple[str, str], ...] = ()
    ready: str = ""
    """The path that answers 200 once it is ready; without one a listening port will do."""


@dataclass(frozen=True, slots=True)
class Program:
    pid: int
    port: int
    ready_seconds: float
    """From its start until it was ready."""

    def cpu_seconds(self) -> float:
        """Return user and system time so far, its children's too."""
        return sum(_cpu_seconds(pid) for pid in _family(self.pid))

    def resident_mb(self) -> float:
        return sum(_memory_mb(pid, "VmRSS") for pid in _family(self.pid))

    def peak_mb(self) -> float:
        """Return the most since the start, or since forget_peak."""
        return sum(_memory_mb(pid, "VmHWM") for pid in _family(self.pid))

    def forget_peak(self) -> None:
        for pid in _family(self.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextlib.contextmanager
def running(spawn: Spawn) -> Iterator[Program]:
    """Start a program, wait until it is ready, and end it by its id."""
    began = time.perf_counter()
    log = spawn.folder / f"{spawn.port}.log"
    with (
        log.open("wb") as body,
        subprocess.Popen(
            spawn.words,
            env={**os.environ, **COMPILED, **dict(spawn.env)},
            stdout=body,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            while not answers(spawn.port, spawn.ready):
                if process.poll() is not None or time.perf_counter() - began > READY_SECONDS:
                    raise RuntimeError(f"{spawn.words[:4]}: {log.read_text()[-2000:]}")
                rest(0.002)
            yield Program(process.pid, spawn.port, time.perf_counter() - began)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def answers(port: int, path: str = "") -> bool:
    """Tell whether somebody listens there and, given a path, answers it with 200."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 5) as connection,
    ):
        if not path:
            return True
        requested = f"GET {path} HTTP/1.1\r\nhost: benchmark\r\nconnection: close\r\n\r\n"
        connection.sendall(requested.encode())
        return b" 200 " in connection.recv(64)
    return False


def rest(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 - a benchmark lives in real time


def free_port() -> int:
    with socket.socket() as ticket:
        ticket.bind(("127.0.0.1", 0))
        return int(ticket.getsockname()[1])


def run_module(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a module of benchmarks to its end; what it complains of is shown."""
    requested = [sys.executable, "-m", f"benchmarks.{name}", *map(str, words)]
    done = subprocess.run(requested, capture_output=True, text=True, check=False)
    if done.stderr:
        print(done.stderr[:2000], file=sys.stderr)
    return done


def stub(folder: Path, task_seconds: float, result_bytes: int, spread: float = 0.0) -> Spawn:
    port = free_port()
    words = ("-m", "benchmarks.stub", str(port), str(task_seconds), str(result_bytes), str(spread))
    return Spawn((sys.executable, *words), port, folder)


def floor(folder: Path, stub_port: int, task_seconds: float) -> Spawn:
    port = free_port()
    words = ("-m", "benchmarks.floor", str(port), str(stub_port), str(task_seconds))
    return Spawn((sys.executable, *words), port, folder)


def gateway(folder: Path, stub_port: int) -> Spawn:
    """Return the gateway as shipped; only the account's limits are far away."""
    port = free_port()
    key = hashlib.sha256(b"wk-bench").hexdigest()
    config = folder / f"gateway-{port}.toml"
    config.write_text(
        f"""
[server]
port = {port}
[state]
path = "{folder}/ledger-{port}.db"
[log]
format = "json"
[regions.beijing]
base_url = "http://127.0.0.1:{stub_port}/api/v1"
[upstreams.main]
region = "beijing"
key = "env:BENCH_KEY"
submits_per_second = 10000
running_tasks = 1000
polls_per_second = 10000
[tenants.bench]
keys = ["sha256:{key}"]
region = "beijing"
"""
    )
    words = (sys.executable, "-m", "gateway", "serve", "--config", str(config))
    return Spawn(words, port, folder, (("BENCH_KEY", "sk-bench"),), ready="/readyz")


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = {queue.split(":", 1)[1].strip() for queue in cpuinfo if queue.startswith("model name")}
    return {
        "platform": platform.platform(),
        "cpu": ", ".join(sorted(models)),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
    }


def _family(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [pid, *(member for child in children for member in _family(child))]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory_mb(pid: int, what: str) -> float:
    for queue in Path(f"/proc/{pid}/status").read_text().splitlines():
        if queue.startswith(what):
            return int(queue.split()[1]) / 1024
    raise LookupError(what)
