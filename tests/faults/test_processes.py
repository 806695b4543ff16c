"""The real process, ended by SIGTERM and by SIGKILL: nothing lost, nothing paid twice."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

import httpx
import pytest

from gateway.domain.models import Operation
from gateway.sandbox import (
    Answer,
    Constant,
    Drop,
    Fault,
    SandboxConfig,
    create_sandbox,
    read_labels,
    running,
)
from tests.faults.processes import config, serving
from tests.harness import (
    KEY,
    PLAIN,
    digest,
    eventually,
    origin,
    origin_of,
    photo,
    pictures_of,
)
from tests.models import MODELS
from tests.ports import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

_QWEN = "qwen-image-edit-plus"


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds: a process of its own knows no others."""
    return "asyncio"


@dataclass(frozen=True)
class ProcessHarness:
    """A region, a config before it, and a client."""

    file: Path
    port: int
    region: str
    http: httpx.AsyncClient

    async def edit(self, prompt: str = "make it blue", retry: int = 0) -> httpx.Response:
        return await self.http.post(
            f"http://127.0.0.1:{self.port}/v1/images/edits",
            data={"prompt": prompt, "size": "768x768"},
            files={"image": ("a.png", photo(), "image/png")},
            headers={"authorization": f"Bearer {KEY}", "x-stainless-retry-count": str(retry)},
        )

    async def edit_request(self, model: str, retry: int = 0) -> httpx.Response:
        """Ask for what *model* does: an edit in JSON, or a generation."""
        edits = MODELS[model].does(Operation.EDIT)
        picture = f"data:image/png;base64,{b64encode(photo()).decode()}"
        # Those obey no size that they are asked for; a picture that is scaled loses its labels.
        size = "2048x2048" if model.startswith("qwen-image-3.0") else "1280x1280"
        fields = {"model": model, "prompt": "make it blue", "size": size}
        return await self.http.post(
            f"http://127.0.0.1:{self.port}/v1/images/{'edits' if edits else 'generations'}",
            json={**fields, "images": [picture]} if edits else fields,
            headers={"authorization": f"Bearer {KEY}", "x-stainless-retry-count": str(retry)},
        )

    async def ready(self) -> int:
        return (await self.http.get(f"http://127.0.0.1:{self.port}/readyz")).status_code

    async def books(self) -> dict[str, Any]:
        books: dict[str, Any] = (await self.http.get(f"{self.region}/_sandbox/books")).json()
        return books

    async def until_task_made(self) -> None:
        """Wait until a task was made."""

        async def seen() -> bool:
            return bool((await self.books())["tasks_made"])

        await eventually(seen)

    async def until_called(self, operation: str) -> None:
        """Wait until the region was called for it."""

        async def seen() -> bool:
            return bool((await self.books())["counts"].get(f"{operation}.received"))

        await eventually(seen)

    async def until_running(self) -> None:
        """Wait until the gateway has seen its task run."""
        running = 'wan_gateway_tasks_in_flight{region="beijing",state="running"} 1.0'

        async def seen() -> bool:
            return running in (await self.http.get(f"http://127.0.0.1:{self.port}/metrics")).text

        await eventually(seen)

    async def until_draining(self) -> None:
        """Wait until the gateway has acted on its first signal."""

        async def seen() -> bool:
            return await self.ready() == 503

        await eventually(seen)


@asynccontextmanager
async def start_process_harness(
    folder: Path, values: SandboxConfig
) -> AsyncIterator[ProcessHarness]:
    async with (
        running(create_sandbox(values)) as region,
        httpx.AsyncClient(timeout=None, trust_env=False) as http,  # noqa: S113 - the gateway's
    ):
        yield ProcessHarness(config(folder, region), free_port(), region, http)


async def test_sigterm(tmp_path: Path) -> None:
    """SIGTERM: not ready, nothing new, what runs is delivered, exit code 0."""
    async with (
        start_process_harness(tmp_path, replace(PLAIN, latency=Constant(6.0))) as harness,
        serving(harness.file, harness.port) as process,
        asyncio.TaskGroup() as group,
    ):
        call = group.create_task(harness.edit())
        await harness.until_task_made()

        process.send_signal(SIGTERM)
        await harness.until_draining()
        refused = await harness.edit("another")
        answer = await call
        code = await process.wait()

        assert refused.json()["error"]["code"] == "server_is_draining"
        assert origin_of(pictures_of(answer)[0]) == origin("make it blue", photo())
        assert code == 0
        assert (await harness.books())["tasks_made"] == 1


async def test_second_sigterm(tmp_path: Path) -> None:
    """A second SIGTERM ends the process at once; the next one delivers the picture."""
    async with start_process_harness(tmp_path, replace(PLAIN, latency=Constant(6.0))) as harness:
        async with serving(harness.file, harness.port) as process, asyncio.TaskGroup() as group:
            call = group.create_task(harness.edit())
            await harness.until_task_made()
            process.send_signal(SIGTERM)
            await harness.until_draining()
            process.send_signal(SIGTERM)
            sent_home = await call
            code = await process.wait()
        async with serving(harness.file, harness.port):
            answer = await harness.edit(retry=1)

        assert sent_home.json()["error"]["code"] == "still_running"
        assert code == 0
        assert origin_of(pictures_of(answer)[0]) == origin("make it blue", photo())
        assert (await harness.books())["tasks_made"] == 1


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param((), id="task-known"),
        pytest.param((Fault("submit", Drop(after=True), count=1),), id="submit-in-doubt"),
    ],
)
async def test_sigkill(tmp_path: Path, faults: tuple[Fault, ...]) -> None:
    """A killed gateway's successor on the same ledger gives the retry its picture; one task."""
    sandbox = replace(PLAIN, latency=Constant(3.0), faults=faults)
    async with start_process_harness(tmp_path, sandbox) as harness:
        async with serving(harness.file, harness.port) as process, asyncio.TaskGroup() as group:
            call = group.create_task(_cut_off(harness))
            if faults:
                await harness.until_task_made()
                await asyncio.sleep(0.3)  # either way it is a doubt
            else:
                await harness.until_running()
            process.send_signal(SIGKILL)
            await call
            await process.wait()
        async with serving(harness.file, harness.port):
            answer = await harness.edit(retry=1)

        books = await harness.books()
        assert origin_of(pictures_of(answer)[0]) == origin("make it blue", photo())
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)
        assert books["counts"]["submit.received"] == 1


_PROMPTS = [f"number {number}" for number in range(9)]
"""More than the account runs at once, by three."""


async def _accepted(harness: ProcessHarness, prompt: str) -> str:
    """Hand an edit in without waiting for it; return its id."""
    answer = await harness.http.post(
        f"http://127.0.0.1:{harness.port}/v1/images/edits",
        data={"prompt": prompt, "size": "768x768"},
        files={"image": ("a.png", photo(), "image/png")},
        headers={
            "authorization": f"Bearer {KEY}",
            "prefer": "respond-async",
            "idempotency-key": prompt,
        },
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def _had(harness: ProcessHarness, edit_id: str) -> httpx.Response:
    """Ask for an accepted edit until it has ended."""
    url = f"http://127.0.0.1:{harness.port}/v1/images/edits/{edit_id}"
    headers = {"authorization": f"Bearer {KEY}"}

    async def ended() -> bool:
        return (await harness.http.get(url, headers=headers)).status_code != 202

    await eventually(ended)
    return await harness.http.get(url, headers=headers)


@pytest.mark.parametrize("signal", [SIGKILL, SIGTERM])
async def test_accepted_edits_outlive_their_process(tmp_path: Path, signal: Signals) -> None:
    """Each edit that was told 202 has its own picture after a kill or a drain, made once."""
    promised = tmp_path / "gateway.db.promised"
    async with start_process_harness(tmp_path, replace(PLAIN, latency=Constant(3.0))) as harness:
        async with serving(harness.file, harness.port) as process:
            ids = [await _accepted(harness, prompt) for prompt in _PROMPTS]
            process.send_signal(signal)
            await process.wait()
        kept = {file.name for file in promised.iterdir()}
        async with serving(harness.file, harness.port):
            again = [await _accepted(harness, prompt) for prompt in _PROMPTS[-3:]]
            answers = [await _had(harness, edit_id) for edit_id in ids]

        books = await harness.books()
        assert again == ids[-3:]
        assert kept >= set(ids[-3:])
        assert [origin_of(*pictures_of(answer)) for answer in answers] == [
            origin(prompt, photo()) for prompt in _PROMPTS
        ]
        assert (books["tasks_made"], books["images_billed"]) == (9, 9)
        assert list(promised.iterdir()) == []


@pytest.mark.parametrize("model", [name for name, model in MODELS.items() if model.has_tasks])
async def test_sigkill_whatever_the_model(tmp_path: Path, model: str) -> None:
    """The successor brings the picture of each model's task, known by its id alone."""
    async with start_process_harness(tmp_path, replace(PLAIN, latency=Constant(3.0))) as harness:
        async with serving(harness.file, harness.port) as process, asyncio.TaskGroup() as group:
            call = group.create_task(_cut_off(harness, model))
            await harness.until_running()
            process.send_signal(SIGKILL)
            await call
            await process.wait()
        async with serving(harness.file, harness.port):
            answer = await harness.edit_request(model, retry=1)

        books = await harness.books()
        labels = read_labels(pictures_of(answer)[0])
        task_id = books["tasks"][0]["task_id"]
        assert answer.headers["x-wan-task-id"] == task_id
        assert labels["sandbox-task"] == task_id
        assert labels["sandbox-prompt-sha256"] == digest("make it blue")
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)


async def test_sigkill_while_a_model_without_tasks_answers(tmp_path: Path) -> None:
    """Nobody can tell what it made: the successor says so, and neither it nor the next pays."""
    async with start_process_harness(tmp_path, replace(PLAIN, latency=Constant(20.0))) as harness:
        async with serving(harness.file, harness.port) as process, asyncio.TaskGroup() as group:
            call = group.create_task(_cut_off(harness, _QWEN))
            await harness.until_task_made()
            process.send_signal(SIGKILL)
            await call
            await process.wait()
        answers = []
        for _ in range(2):
            async with serving(harness.file, harness.port):
                answers += [await harness.edit_request(_QWEN, retry=count) for count in (1, 0)]

        books = await harness.books()
        assert [answer.status_code for answer in answers] == [503] * 4
        assert {answer.json()["error"]["code"] for answer in answers} == {"submit_uncertain"}
        assert {answer.headers["x-should-retry"] for answer in answers} == {"false"}
        assert books["counts"]["submit.received"] == 1


async def test_sigkill_after_a_model_without_tasks_has_answered(tmp_path: Path) -> None:
    """Its picture cannot be fetched yet, then the gateway is killed: the successor has its URL."""
    fault = Fault("download", Answer(503, "ServiceUnavailable"))
    sandbox = replace(PLAIN, latency=Constant(0.5), faults=(fault,))
    async with start_process_harness(tmp_path, sandbox) as harness:
        async with serving(harness.file, harness.port) as process, asyncio.TaskGroup() as group:
            call = group.create_task(_cut_off(harness, _QWEN))
            await harness.until_called("download")
            process.send_signal(SIGKILL)
            await call
            await process.wait()
        (await harness.http.put(f"{harness.region}/_sandbox/faults", json=[])).raise_for_status()
        async with serving(harness.file, harness.port):
            answer = await harness.edit_request(_QWEN, retry=1)

        books = await harness.books()
        labels = read_labels(pictures_of(answer)[0])
        assert labels["sandbox-prompt-sha256"] == digest("make it blue")
        assert (books["images_billed"], books["counts"]["submit.received"]) == (1, 1)


async def _cut_off(harness: ProcessHarness, model: str = "") -> None:
    with pytest.raises(httpx.TransportError):
        await (harness.edit_request(model) if model else harness.edit())
