"""What DashScope counts by account and model, against a region that refuses what is beyond it."""

import asyncio
from dataclasses import replace

import pytest

from gateway.sandbox import Constant
from tests.harness import PLAIN, pictures_of, start_harness

pytestmark = pytest.mark.anyio

_SECONDS = 20.0
_SLOW = replace(PLAIN, latency=Constant(_SECONDS))
_MODELS = ("wan2.5-i2i-preview", "wan2.6-image", "wan2.7-image")
_UPSTREAM = {"main": {"region": "beijing", "key": "env:KEY"}}


async def test_fifteen_edits_over_three_models_run_side_by_side() -> None:
    """Five edits of each of three models take one wave, and nothing is throttled."""
    async with start_harness(_SLOW, upstreams=_UPSTREAM) as harness:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await asyncio.gather(
            *(harness.edit(f"{model} {n}", model=model) for model in _MODELS for n in range(5))
        )
        took = loop.time() - began
        books = await harness.books()

    assert all(pictures_of(answer) for answer in answers)
    assert books["tasks_made"] == 15
    assert not books["counts"].get("submit.throttled")
    assert took < 1.5 * _SECONDS
