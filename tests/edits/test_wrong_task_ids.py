"""Upstream's answers are checked: nobody gets a picture of which they do not say that it is his."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.errors import GatewayError, LedgerUnavailable, TaskLost
from gateway.domain.task import Accepted, Task
from gateway.domain.tenant import Upstream
from gateway.edits.request import EditResult
from tests.edits.harness import EditHarness, complete, error_of, picture_bytes
from tests.fakes import FakeDashScope

pytestmark = pytest.mark.anyio


class Confused(FakeDashScope):
    """A region that tells the first task to its second submit, whose own task may exist."""

    makes = True

    async def submit(self, upstream: Upstream, *given: Any, **named: Any) -> Accepted:
        if not self.tasks_by_id:
            return await super().submit(upstream, *given, **named)
        if self.makes:
            await super().submit(upstream, *given, **named)
        else:
            self._note("submit", upstream)
        return Accepted("task-1", "req-again")


def confused_harness(*, makes: bool) -> EditHarness:
    harness = EditHarness()
    harness.dashscope = dashscope = Confused(harness.clock)
    dashscope.makes = makes
    return harness


@pytest.mark.parametrize("prompt", ["a red cat", "a blue dog"])
@pytest.mark.parametrize("pause", [0.2, 60.0], ids=["while it runs", "afterwards"])
@pytest.mark.parametrize("accepts", [0, 50], ids=["written", "not written yet"])
async def test_a_task_that_is_told_twice(prompt: str, pause: float, accepts: int) -> None:
    """The second submit's own task is found by the list; the first one's picture stays its own."""
    harness = confused_harness(makes=True)
    if prompt != "a red cat":  # an equal one would wait for it to be written
        harness.ledger.faults["accept"] = [LedgerUnavailable("full")] * accepts
    got: dict[str, EditResult | GatewayError] = {}
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(_come(service, harness, got, "first"))
        await harness.clock.sleep(pause)
        await _come(service, harness, got, "second", prompt)

    first, second = got["first"], got["second"]
    assert isinstance(first, EditResult)
    assert isinstance(second, EditResult)
    assert [picture_bytes(one)[0].split(b"|")[2] for one in (first, second)] == [
        b"first",
        b"second",
    ]
    assert harness.dashscope.count("submit") == 2


async def test_a_task_that_is_told_twice_and_made_once() -> None:
    """Without a task of its own the second one is lost, and is not submitted again."""
    harness = confused_harness(makes=False)
    async with harness.service() as service:
        await complete(service, harness.request(picture=b"first"))
        refused = await error_of(
            complete(service, harness.request("a blue dog", picture=b"second"))
        )

    assert isinstance(refused, TaskLost)
    assert not refused.retry
    assert harness.dashscope.count("submit") == 2


class Mixed(FakeDashScope):
    """A region whose first fetches of an ended task tell of another prompt."""

    wrong = 3

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        task = await super().fetch(upstream, task_id)
        if task.orig_prompt is not None and self.wrong:
            self.wrong -= 1
            return replace(task, orig_prompt="somebody's secret", results=())
        return task


async def test_a_fetch_of_another_prompt_has_failed() -> None:
    """It is asked again; nobody is given what it told."""
    harness = EditHarness()
    harness.dashscope = dashscope = Mixed(harness.clock)
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert dashscope.wrong == 0
    assert picture_bytes(answer) == (b"task-1|a red cat|in|0",)


async def test_the_same_when_its_picture_is_asked_for_later() -> None:
    """Also in another process, which knows the prompt by its digests alone."""
    harness = EditHarness()
    async with harness.service() as service:
        answer = await complete(service, harness.request(idempotency_key="k"))
    harness.dashscope.__class__ = Mixed
    async with harness.service() as service:
        again = await complete(service, harness.request(idempotency_key="k"))

    assert picture_bytes(again) == picture_bytes(answer)


@pytest.mark.parametrize("answered", ["a  RED cat!", "", " "])
async def test_a_prompt_that_was_tidied_is_ours(answered: str) -> None:
    """What upstream does to white space, letters and signs does not keep a picture back."""

    class Tidy(FakeDashScope):
        async def fetch(self, upstream: Upstream, task_id: str) -> Task:
            return replace(await super().fetch(upstream, task_id), orig_prompt=answered)

    harness = EditHarness()
    harness.dashscope = Tidy(harness.clock)
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.delivered == 1


async def _come(
    service: Any, harness: EditHarness, got: dict[str, Any], source: str, prompt: str = "a red cat"
) -> None:
    try:
        got[source] = await complete(service, harness.request(prompt, picture=source.encode()))
    except GatewayError as error:
        got[source] = error


async def test_the_ledger_cannot_say_whose_a_task_is() -> None:
    """While it is away an answer is believed: what it tells is checked when it is written."""
    harness = EditHarness()
    harness.ledger.faults["find_tasks"] = [LedgerUnavailable("full")]
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert answer.delivered == 1
    assert harness.ledger.faults["find_tasks"] == []
