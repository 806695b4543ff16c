"""`wan-gateway serve` as a process of its own, before a region that a thread serves."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from gateway.sandbox import (
    AccountLimits,
    Constant,
    SandboxConfig,
    bind,
    create_sandbox,
    sandbox_server,
)
from tests.harness import KEY, UPSTREAM_KEY, hashed, photo


class GatewayProcess:
    """``wan-gateway serve`` as an operator starts it; every line that it writes is kept."""

    def __init__(self, folder: Path, tables: str, *, ready: str = "listening") -> None:
        """*ready* is the event after which it has a URL."""
        self._ready = ready
        file = folder / "g.toml"
        file.write_text(tables)
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--config", str(file)],
            env={**os.environ, "KEY": UPSTREAM_KEY, "NO_PROXY": "127.0.0.1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []
        self.url = ""

    def __enter__(self) -> Self:
        assert self._popen.stdout
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        until(lambda: bool(self.logged(self._ready)) or self._popen.poll() is not None)
        assert self.logged(self._ready), self._popen.stderr and self._popen.stderr.read()
        self.url = self.logged(self._ready)[0]["url"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is not None:
            self._popen.kill()
        self._popen.wait(60)
        self._reader.join()
        for pipe in (self._popen.stdout, self._popen.stderr):
            assert pipe
            pipe.close()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def terminate(self) -> None:
        """Let it end, as soon as it has waited for nobody."""
        for _ in range(2):
            self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self) -> int:
        """Wait for the end, which must say nothing on standard error; return the exit code."""
        code = self._popen.wait(60)
        assert self._popen.stderr
        assert self._popen.stderr.read() == ""
        self._reader.join()
        return code

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def _read(self) -> None:
        assert self._popen.stdout
        for line in self._popen.stdout:
            self.lines.append(json.loads(line))


def until(fact: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for another process: it has no clock that could be handed in."""
    late = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < late, "it did not come true"
        threading.Event().wait(0.02)


@contextmanager
def region(task_seconds: float, limits: AccountLimits | None = None) -> Iterator[str]:
    """Serve a region in a thread of its own; yield its URL."""
    config = SandboxConfig(
        accounts={"acme": (UPSTREAM_KEY,)},
        latency=Constant(task_seconds),
        picture="plain",
        limits=limits or AccountLimits(),
    )
    serving = sandbox_server(create_sandbox(config))
    with bind() as listener:
        host, port = listener.getsockname()[:2]
        thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://{host}:{port}"
        finally:
            serving.should_exit = True
            thread.join()


def tables(
    folder: Path, region_url: str = "http://127.0.0.1:9", *, database: object = "", **server: object
) -> str:
    """Return a config whose ledger is in *folder*, or in *database*."""
    state = f'url = "{database}"' if database else f'path = "{folder / "gateway.db"}"'
    keys = "\n".join(f"{name} = {value}" for name, value in {"port": 0, **server}.items())
    return f"""
        [server]
        {keys}
        [state]
        {state}
        [regions.beijing]
        base_url = "{region_url}/api/v1"
        [upstreams.main]
        region = "beijing"
        key = "env:KEY"
        [tenants.acme]
        region = "beijing"
        keys = ["{hashed(KEY)}"]
    """


def edit(process: GatewayProcess, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{process.url}/v1/images/edits",
        data={"prompt": "make it sepia"},
        files={"image": ("a.png", photo(), "image/png")},
        headers={"authorization": f"Bearer {KEY}", **headers},
        timeout=60,
        trust_env=False,
    )


def ready(process: GatewayProcess) -> int:
    return httpx.get(f"{process.url}/readyz", timeout=30, trust_env=False).status_code


def has_running_task(process: GatewayProcess) -> bool:
    """Whether a task runs, by the metrics."""
    page = httpx.get(f"{process.url}/metrics", timeout=30, trust_env=False).text
    return 'wan_gateway_tasks_in_flight{region="beijing",state="running"} 1.0' in page


@contextmanager
def client(
    process: GatewayProcess, running: Callable[[], bool] | None = None
) -> Iterator[Future[httpx.Response]]:
    """A client whose task runs, as *running* tells; else the metrics."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(edit, process)
        until(lambda: running() if running else has_running_task(process) or answer.done())
        yield answer


def refused_start(folder: Path, tables: str, *, silent: bool = True) -> tuple[int, str]:
    """Return the exit code and standard error; a *silent* start logs nothing before."""
    (folder / "g.toml").write_text(tables)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--config", "g.toml"],
        env={**os.environ, "KEY": UPSTREAM_KEY, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "" or not silent
    return done.returncode, done.stderr
