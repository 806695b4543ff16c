"""The openai package's own patience and retries, in its real figures and short seconds (P2, P3)."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai.types import ImagesResponse

from gateway.sandbox import Constant, Drop, Fault, Late, read_labels
from tests.harness import (
    KEY,
    PLAIN,
    Harness,
    digest,
    origin,
    origin_of,
    photo,
    start_harness,
)

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _sdk(harness: Harness, **more: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{harness.url}/v1", **more) as client:
        yield client


def _owner(answer: ImagesResponse) -> tuple[str, str]:
    (image,) = answer.data or []
    return origin_of(b64decode(image.b64_json or ""))


async def test_patience_shorter_than_a_generation() -> None:
    """The same of a prompt alone: the SDK's retries join it, and it is paid once."""
    async with (
        start_harness(replace(PLAIN, latency=Constant(12.0))) as harness,
        _sdk(harness, timeout=5) as sdk,
    ):
        answer = await sdk.images.generate(prompt="a red kite")

        (image,) = answer.data or []
        labels = read_labels(b64decode(image.b64_json or ""))
        books = await harness.books()
        assert labels["sandbox-prompt-sha256"] == digest("a red kite")
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)


async def test_patience_shorter_than_the_task() -> None:
    """timeout=5 against a task of 12 s: no exception, one task, one picture, paid once."""
    async with (
        start_harness(replace(PLAIN, latency=Constant(12.0))) as harness,
        _sdk(harness, timeout=5) as sdk,
    ):
        answer = await sdk.images.edit(image=photo(), prompt="make it blue")

        books = await harness.books()
        assert _owner(answer) == origin("make it blue", photo())
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)
        assert books["counts"]["submit.received"] == 1


@pytest.mark.slow
async def test_many_impatient_customers() -> None:
    """Four clients with equal patience and different pictures each get their own."""
    async with (
        start_harness(replace(PLAIN, latency=Constant(12.0))) as harness,
        _sdk(harness, timeout=5) as sdk,
    ):
        answers = await asyncio.gather(
            *(sdk.images.edit(image=photo(shade), prompt="make it blue") for shade in range(4))
        )

        expected = [origin("make it blue", photo(shade)) for shade in range(4)]
        assert [_owner(answer) for answer in answers] == expected
        assert (await harness.books())["tasks_made"] == 4


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(Drop(after=True), id="answer-dropped"),
        pytest.param(Late(1.5), id="task-appears-later"),
    ],
)
async def test_dropped_answer(action: Drop | Late) -> None:
    """An answer that got lost between us and DashScope costs the SDK's user nothing."""
    faults = (Fault("submit", action, count=1),)
    async with (
        start_harness(replace(PLAIN, faults=faults)) as harness,
        _sdk(harness, timeout=5, max_retries=2) as sdk,
    ):
        answer = await sdk.images.edit(image=photo(), prompt="make it blue")

        books = await harness.books()
        assert _owner(answer) == origin("make it blue", photo())
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)


async def test_idempotency_key() -> None:
    """A key of the client's own replays its picture, and is refused for other content."""
    named: Any = {"extra_headers": {"Idempotency-Key": "order-7"}}
    async with start_harness() as harness, _sdk(harness) as sdk:
        edit = sdk.images.with_raw_response.edit
        first = await edit(image=photo(), prompt="make it blue", **named)
        second = await edit(image=photo(), prompt="make it blue", **named)
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            await edit(image=photo(), prompt="make it red", **named)

        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"
        assert second.headers["x-wan-edit-id"] == first.headers["x-wan-edit-id"]
        assert _owner(second.parse()) == origin("make it blue", photo())
        assert caught.value.code == "idempotency_key_reused"
        assert (await harness.books())["tasks_made"] == 1


async def test_idempotency_key_while_it_runs() -> None:
    """Two calls with one key at once are one edit, and both get its picture."""
    named: Any = {"extra_headers": {"Idempotency-Key": "order-8"}}
    async with start_harness() as harness, _sdk(harness) as sdk:
        answers = await asyncio.gather(
            *(sdk.images.edit(image=photo(), prompt="make it blue", **named) for _ in range(2))
        )

        assert [_owner(answer) for answer in answers] == [origin("make it blue", photo())] * 2
        assert (await harness.books())["tasks_made"] == 1


async def test_equal_edits_without_a_key() -> None:
    """The same edit asked for again after it was delivered is another edit."""
    async with start_harness() as harness, _sdk(harness) as sdk:
        for _ in range(2):
            await sdk.images.edit(image=photo(), prompt="make it blue")

        assert (await harness.books())["tasks_made"] == 2
