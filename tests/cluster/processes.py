"""Three real `wan-gateway serve` processes, one database, one simulated region."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any

import httpx

from gateway.sandbox import Constant, SandboxConfig, create_sandbox, read_labels, running
from tests.cluster.silent_proxy import SilentProxy, silent_proxy
from tests.harness import digest, eventually, hashed, photo, pictures_of
from tests.ports import free_port

TENANTS = ("acme", "bravo", "coral")
"""Each has an account of its own, so that there are three shards."""
LEASE_SECONDS = 3.0


def key_of(tenant: str) -> str:
    return f"wk-{tenant}"


@dataclass
class NodeProcess:
    """One node: its process can be started again; every line of its log is kept."""

    name: str
    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def faults(self) -> Path:
        """Each file in it is a fault of tests.cluster.faulty_node that is on."""
        return self.folder / f"{self.name}.faults"

    @property
    def stands_still(self) -> bool:
        assert self.process is not None
        stat = Path(f"/proc/{self.process.pid}/stat").read_text("ascii")
        return stat.rpartition(")")[2].split()[0] == "T"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of its log about *event*."""
        found = []
        for line in self.log.read_text("utf-8").splitlines():
            with suppress(ValueError):
                if (fields := json.loads(line))["event"] == event:
                    found.append(fields)
        return found

    async def start(self) -> None:
        self.faults.mkdir(exist_ok=True)
        plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        keys = {f"KEY_{tenant.upper()}": f"sk-{tenant}" for tenant in (*TENANTS, "delta")}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.cluster.faulty_node", "serve"),
                *("--config", str(self.folder / f"{self.name}.toml")),
                env={
                    **plain,
                    **keys,
                    "SECRET": "a-secret-of-the-nodes",
                    "NODE_FAULTS": str(self.faults),
                },
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        async def up() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, self.log.read_text("utf-8")
            with suppress(httpx.TransportError):
                async with httpx.AsyncClient(trust_env=False) as http:
                    return (await http.get(f"{self.url}/readyz")).status_code == 200
            return False

        await eventually(up)

    def send(self, number: Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self) -> int:
        """Wait for its end; return the exit code."""
        assert self.process is not None
        async with asyncio.timeout(60):
            return await self.process.wait()

    async def start_again(self, *faults: str) -> None:
        """Kill it, and start it with *faults* alone."""
        await self.kill()
        for file in self.faults.iterdir():
            file.unlink()
        for fault in faults:
            (self.faults / fault).touch()
        await self.start()
        await self.ready()

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.send(SIGKILL)
            await self.end()


@dataclass
class Nodes:
    """A cluster, and a client's hand at each of its nodes."""

    folder: Path
    nodes: dict[str, NodeProcess]
    proxies: dict[str, SilentProxy]
    """Before the database, one for each node."""
    region: str
    http: httpx.AsyncClient
    made_before: int = 0
    """Tasks of earlier tests."""

    async def begin(self) -> None:
        """Bring all nodes up again that a test has ended, and count tasks from here on."""
        for node in self.nodes.values():
            assert node.process is not None
            if node.process.returncode is not None:
                await node.start()
        for node in self.nodes.values():
            await node.ready()
        for tenant in TENANTS:
            await self.owner(tenant)
        self.made_before = (await self._books())["tasks_made"]

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    async def edit(
        self, node: str, prompt: str, tenant: str = "acme", **headers: str
    ) -> httpx.Response:
        """POST an edit at *node*; ``_`` in a header's name stands for ``-``."""
        return await self.http.post(
            f"{self[node].url}/v1/images/edits",
            data={"prompt": prompt, "size": "768x768"},
            files={"image": ("a.png", photo(), "image/png")},
            headers={
                "authorization": f"Bearer {key_of(tenant)}",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )

    async def call(
        self, method: str, node: str, edit_id: str, tenant: str = "acme"
    ) -> httpx.Response:
        return await self.http.request(
            method,
            f"{self[node].url}/v1/images/edits/{edit_id}",
            headers={"authorization": f"Bearer {key_of(tenant)}"},
        )

    async def _books(self) -> dict[str, Any]:
        books: dict[str, Any] = (await self.http.get(f"{self.region}/_sandbox/books")).json()
        return books

    async def tasks(self) -> list[dict[str, Any]]:
        """Return the tasks that were made since the test began."""
        books = await self._books()
        return [task for task in books["tasks"] if task["number"] >= self.made_before]

    async def made(self, number: int) -> None:
        """Wait until *number* tasks were made."""

        async def seen() -> bool:
            return len(await self.tasks()) >= number

        await eventually(seen)

    async def judge(self, answers: Mapping[str, httpx.Response]) -> "Judgement":
        """Compare what the region was asked for with what clients got, by their prompts."""
        tasks = Counter(task["prompt_sha256"] for task in await self.tasks())
        return Judgement(
            paid_twice=sum(number - 1 for number in tasks.values()),
            wrong=sum(it.status_code == 200 and not is_of(it, p) for p, it in answers.items()),
            lost=sum(it.status_code != 200 for it in answers.values()),
        )

    async def metrics(self, node: str) -> str:
        return (await self.http.get(f"{self[node].url}/metrics")).text

    async def owner(self, shard: str = "acme", besides: str = "") -> str:
        """Wait until a node other than *besides* owns *shard*; return its name."""
        found = ""

        async def seen() -> bool:
            nonlocal found
            for name in self.nodes:
                if name != besides:
                    with suppress(httpx.TransportError):
                        if f'shard_held{{shard="{shard}"}} 1.0' in await self.metrics(name):
                            found = name
            return bool(found)

        await eventually(seen)
        return found

    def twin_of(self, name: str) -> NodeProcess:
        """Return a second process of the same config, at another port."""
        twin = NodeProcess(f"{name}-twin", self.folder, free_port())
        config = (self.folder / f"{name}.toml").read_text("utf-8")
        config = config.replace(f"port = {self[name].port}\n", f"port = {twin.port}\n")
        (self.folder / f"{twin.name}.toml").write_text(config, "utf-8")
        return twin


@dataclass(frozen=True)
class Judgement:
    """What is wrong with a run: all must be 0."""

    paid_twice: int = 0
    """Tasks beyond one for each prompt."""
    wrong: int = 0
    """Answers with another prompt's picture."""
    lost: int = 0
    """Clients without a picture."""


INNOCENT = Judgement()


def is_of(answer: httpx.Response, prompt: str) -> bool:
    """Say whether an answer has one picture, and it is of *prompt*."""
    if answer.status_code != 200:
        return False
    (picture,) = pictures_of(answer)
    return bool(read_labels(picture)["sandbox-prompt-sha256"] == digest(prompt))


@asynccontextmanager
async def cluster(
    folder: Path,
    database: str,
    names: str = "abc",
    *,
    seconds: float = 1.0,
    lease_seconds: float = LEASE_SECONDS,
    running_tasks: int = 12,
    **sandbox: Any,
) -> AsyncIterator[Nodes]:
    """Run a node for each letter of *names*, before a region whose tasks take *seconds*."""
    sandbox_config = SandboxConfig(
        accounts={tenant: (f"sk-{tenant}",) for tenant in TENANTS},
        latency=Constant(seconds),
        picture="plain",
        plain_bytes=30_000,
        **sandbox,
    )
    async with AsyncExitStack() as stack:
        region = await stack.enter_async_context(running(create_sandbox(sandbox_config)))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=150.0, trust_env=False))
        nodes: dict[str, NodeProcess] = {}
        proxies: dict[str, SilentProxy] = {}
        for name in names:
            node = NodeProcess(name, folder, free_port())
            proxies[name] = await stack.enter_async_context(silent_proxy(database))
            config = _config(node, proxies[name].url, region, lease_seconds, running_tasks)
            (folder / f"{name}.toml").write_text(config, "utf-8")
            nodes[name] = node
        stack.push_async_callback(_kill, nodes)
        for node in nodes.values():
            await node.start()
        found = Nodes(folder, nodes, proxies, region, http)
        await found.begin()
        yield found


async def _kill(nodes: Mapping[str, NodeProcess]) -> None:
    for node in nodes.values():
        await node.kill()


def _config(
    node: NodeProcess, database: str, region: str, lease_seconds: float, running_tasks: int
) -> str:
    tables = [
        f'[server]\nport = {node.port}\ndrain_seconds = 60\n[state]\nurl = "{database}"',
        f'[cluster]\nnode = "{node.name}"\nurl = "{node.url}"\nsecret = "env:SECRET"',
        f"lease_seconds = {lease_seconds}",
        f'[regions.beijing]\nbase_url = "{region}/api/v1"',
    ]
    for tenant in TENANTS:
        tables += [
            f'[upstreams.{tenant}-up]\nregion = "beijing"\naccount = "{tenant}"',
            f'key = "env:KEY_{tenant.upper()}"\nrunning_tasks = {running_tasks}',
            "submits_per_second = 30",
            f'[tenants.{tenant}]\nregion = "beijing"\nupstreams = ["{tenant}-up"]',
            f'keys = ["{hashed(key_of(tenant))}"]',
        ]
    return "\n".join(tables) + "\n"
