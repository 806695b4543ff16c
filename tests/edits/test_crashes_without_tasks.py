"""Wherever the process dies while a model without tasks answers: paid once, or told so for good."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from gateway.domain.errors import SubmitUncertain, Throttled
from gateway.edits.request import EditRequest, EditResult
from tests.edits.crashing import run_until_death
from tests.edits.harness import EditHarness, picture_bytes, retry_until_done
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio

_MOST = 150
"""More steps than any of these ways has."""
_QWEN = "qwen-image-edit-plus"
SCENARIOS: dict[str, tuple[dict[str, Any], tuple[Submit, ...]]] = {
    "smooth": ({}, ()),
    "keyed": ({"idempotency_key": "k1"}, ()),
    "answer lost": ({}, (Submit(SubmitUncertain("cut")),)),
    "keyed and lost": ({"idempotency_key": "k1"}, (Submit(SubmitUncertain("cut")),)),
    "throttled": ({}, (Submit(Throttled("slow"), makes=False),)),
    "two parts": ({"n": 8}, ()),
    "one of two lost": ({"n": 8}, (Submit(), Submit(SubmitUncertain("cut")))),
}


def a_harness(submits: tuple[Submit, ...]) -> EditHarness:
    harness = EditHarness()
    harness.dashscope.run = Run(0.0, 15.0)
    harness.dashscope.submits.extend(submits)
    return harness


async def last_life(
    harness: EditHarness, request: Callable[[], EditRequest]
) -> EditResult | SubmitUncertain:
    """Let the client's retries come to a process that lives."""
    async with harness.service() as service:
        try:
            return await retry_until_done(service, lambda _: request(), harness.clock)
        except SubmitUncertain as error:
            return error
        finally:
            await harness.clock.sleep(300.0)  # whatever is still under way, let it come


async def lives(
    harness: EditHarness, deaths: tuple[int, ...], changes: dict[str, Any]
) -> list[str]:
    """Let one process after the other die; return where, and check what the client got."""
    tries = iter(range(100))

    def request() -> EditRequest:
        return harness.request(**changes, model=_QWEN, retry_count=next(tries))

    where: list[str] = []
    end: EditResult | SubmitUncertain | None = None
    for last in deaths:
        life, end = await run_until_death(harness, lambda _: request(), last, SubmitUncertain)
        where.append(life.where)
        if end is not None:
            break
        await harness.clock.sleep(0.5)
    end = end or await last_life(harness, request)

    at = f"died {where} (steps {deaths})"
    n, paid = changes.get("n", 1), sum(task.n for task in harness.dashscope.paid)
    assert not harness.bugs, at
    assert paid <= n, at
    if isinstance(end, SubmitUncertain):
        assert not end.retry, at
        assert any(task.intended_at for edit in harness.ledger.records for task in edit.tasks), at
    else:
        assert all(b"|a red cat|in|" in picture for picture in picture_bytes(end)), at
        assert len(set(end.pictures)) == end.delivered <= paid, at
    return where


@pytest.mark.parametrize("name", SCENARIOS)
async def test_dies_anywhere(name: str) -> None:
    """For each moment of death nothing is paid twice, and the retry gets the picture or a doubt."""
    changes, submits = SCENARIOS[name]
    deaths: set[str] = set()
    for last in range(1, _MOST):
        (where,) = await lives(a_harness(submits), (last,), changes)
        if not where:  # it lived to the end
            break
        deaths.add(where)

    assert {"before intend", "before submit", "before end_edit"} <= deaths
    assert last < _MOST - 1, "the way is longer than was tried"


@pytest.mark.parametrize("name", ["smooth", "keyed", "answer lost", "two parts"])
async def test_dies_twice(name: str) -> None:
    """The next process dies as well, at each of its own first steps."""
    changes, submits = SCENARIOS[name]
    for first in range(1, 30):
        for second in range(1, 12):
            await lives(a_harness(submits), (first, second), changes)


def _asks(harness: EditHarness) -> Callable[[int], EditRequest]:
    return lambda count: harness.request(model=_QWEN, retry_count=count)


@pytest.mark.parametrize("died", ["after submit", "before result URLs", "after result URLs"])
async def test_what_the_receipt_is_for(died: str) -> None:
    """Dead before it is written, the picture is lost and told so; dead after it, it is had."""
    for last in range(1, _MOST):
        harness = a_harness(())
        life, _ = await run_until_death(harness, _asks(harness), last, SubmitUncertain)
        if life.where == died:
            break

    end = await last_life(harness, partial(harness.request, model=_QWEN, retry_count=1))

    assert life.where == died
    assert isinstance(end, EditResult) == (died == "after result URLs")
    assert len(harness.dashscope.paid) == 1
