"""A prompt alone goes the same way: paid once, joined, replayed, had again, resolved."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.sandbox import Constant, Drop, Fault, read_labels
from tests.harness import PLAIN, Harness, digest, pictures_of, start_harness

pytestmark = pytest.mark.anyio

PATH = "/v1/images/generations"


async def generate(
    harness: Harness, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    return await harness.http.post(PATH, json={"prompt": "a hat", **fields}, headers=headers)


def prompt_of(answer: httpx.Response) -> str:
    (picture,) = pictures_of(answer)
    return read_labels(picture)["sandbox-prompt-sha256"]


@pytest.mark.parametrize(
    ("action", "submits"),
    [(Drop(after=True), 1), (Drop(), 2)],
    ids=["answer-dropped", "dropped-before-the-task"],
)
async def test_a_doubtful_submit(action: Drop, submits: int) -> None:
    """Whether it made a task is found out by the list: one task, one picture, no error."""
    async with start_harness(replace(PLAIN, faults=(Fault("submit", action, count=1),))) as harness:
        answer = await generate(harness)

        books = await harness.books()
        assert prompt_of(answer) == digest("a hat")
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)
        assert books["counts"]["submit.received"] == submits


@pytest.mark.parametrize("model", ["wan2.6-image", "wan2.6-t2i"])
async def test_a_doubtful_submit_of_the_newer_form(model: str) -> None:
    """Its tasks tell no prompt: one that may be ours is never made again, nor given away."""
    async with start_harness(
        replace(PLAIN, faults=(Fault("submit", Drop(after=True), count=1),))
    ) as harness:
        send = harness.edit if model == "wan2.6-image" else generate_by(harness)
        answer = await send(model=model)

        books = await harness.books()
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "upstream_task_lost")
        assert answer.headers["x-should-retry"] == "false"
        assert (books["tasks_made"], books["counts"]["submit.received"]) == (1, 1)


@pytest.mark.parametrize("model", ["wan2.6-image", "wan2.6-t2i"])
async def test_a_submit_of_the_newer_form_that_made_nothing(model: str) -> None:
    """Where the list shows that no task was made, it is submitted again."""
    async with start_harness(replace(PLAIN, faults=(Fault("submit", Drop(), count=1),))) as harness:
        send = harness.edit if model == "wan2.6-image" else generate_by(harness)
        answer = await send(model=model)

        books = await harness.books()
        assert len(pictures_of(answer)) == 1
        assert (books["tasks_made"], books["counts"]["submit.received"]) == (1, 2)


def generate_by(harness: Harness) -> Any:
    return lambda **fields: generate(harness, **fields)


async def test_a_key_is_replayed() -> None:
    """Idempotency-Key brings the same picture back, and guards against other content."""
    key = {"idempotency-key": "k-1"}
    async with start_harness() as harness:
        first = await generate(harness, key)
        again = await generate(harness, key)
        other = await generate(harness, key, prompt="a cap")
        edited = await harness.edit("a hat", headers=key)

        assert pictures_of(first) == pictures_of(again)
        assert again.headers["idempotent-replayed"] == "true"
        assert (other.status_code, edited.status_code) == (422, 422)
        assert (await harness.books())["tasks_made"] == 1


async def test_two_paths_to_one_edit(tmp_path: Path) -> None:
    """While it runs it is told of, and afterwards had, at either path; the object names itself."""
    state = {"path": str(tmp_path / "gateway.db")}
    async with start_harness(replace(PLAIN, latency=Constant(8.0)), state=state) as harness:
        accepted = await generate(harness, {"prefer": "respond-async"})
        place = accepted.headers["location"]
        running = await harness.http.get(place)
        elsewhere = await harness.http.get(place.replace("generations", "edits"))
        await harness.until("SUCCEEDED")
        await asyncio.sleep(2)
        had = await harness.http.get(place)

        assert accepted.status_code == running.status_code == 202
        assert place == f"{PATH}/{accepted.json()['id']}"
        assert (running.json()["object"], elsewhere.json()["object"]) == (
            "image.generation",
            "image.edit",
        )
        assert prompt_of(had) == digest("a hat")


async def test_a_retry_joins() -> None:
    """A marked retry of one that runs gets its picture; an edit by the same prompt is another."""
    async with start_harness(replace(PLAIN, latency=Constant(5.0))) as harness:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(generate(harness))
            await harness.until("RUNNING")
            second = group.create_task(generate(harness, {"x-stainless-retry-count": "1"}))
            edit = group.create_task(harness.edit("a hat"))

        assert pictures_of(first.result()) == pictures_of(second.result())
        assert pictures_of(edit.result()) != pictures_of(first.result())
        assert (await harness.books())["tasks_made"] == 2


async def test_kept_awake() -> None:
    """A tenant with blanks hears of a generation that runs, and metrics count it apart."""
    slow = replace(PLAIN, latency=Constant(20.0))
    tenant = {"region": "beijing", "open": True, "keep_alive": "whitespace"}
    async with start_harness(slow, tenants={"acme": tenant}) as harness:
        answer = await generate(harness)
        page = (await harness.http.get("/metrics")).text

        assert answer.text.startswith("\n")
        assert prompt_of(answer) == digest("a hat")
        assert 'http_requests_total{code="200",method="POST",route="/v1/images/generations"' in page
        assert 'model="wan2.5-t2i-preview"' in page


@pytest.mark.parametrize(
    "path", ["/images/generations", "/openai/v1/images/generations", "/v1/images/generations/"]
)
async def test_paths(path: str) -> None:
    """Generations are made wherever edits are."""
    async with start_harness() as harness:
        answer = await harness.http.post(path, json={"prompt": "a hat"})

        assert prompt_of(answer) == digest("a hat")


async def test_strict() -> None:
    """A strict tenant is told of a field that no picture knows; others have it listed."""
    strict = {"region": "beijing", "open": True, "strict": True}
    async with start_harness(tenants={"acme": strict}) as harness:
        refused = await generate(harness, input_fidelity="high")
        style = await generate(harness, style="vivid")

        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input_fidelity")
        assert style.headers["x-wan-ignored-params"] == "style"
