"""gateway.edits.prompts: one open submit of a prompt, in order of asking."""

import asyncio

import pytest

from gateway.edits.prompts import Prompts
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio


async def test_one_open_submit_per_prompt() -> None:
    """Equal prompts go one after the other, others beside them; nothing stays behind."""
    clock, freed = WarpClock(), list[str]()
    prompts, order = Prompts(freed.append), list[str]()

    async def submit(prompt: str, name: str) -> None:
        async with prompts.hold(prompt):
            order.append(f"{name} in")
            await clock.sleep(1.0)
            order.append(f"{name} out")

    async with asyncio.TaskGroup() as group:
        group.create_task(submit("cat", "first"))
        group.create_task(submit("cat", "second"))
        group.create_task(submit("dog", "third"))

    assert order.index("first out") < order.index("second in")
    assert order.index("third in") < order.index("first out")
    assert freed == ["dog", "cat"]
    assert not prompts.held("cat")


@pytest.mark.parametrize("in_the_same_moment", [False, True])
async def test_who_leaves_does_not_keep_the_prompt(*, in_the_same_moment: bool) -> None:
    """One that stops waiting, even as it is its turn, lets the next have the prompt."""
    prompts, order = Prompts(), list[str]()

    async def submit(name: str) -> None:
        async with prompts.hold("cat"):
            order.append(name)

    prompts.take("cat")
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(submit("leaver"))
        group.create_task(submit("stayer"))
        await asyncio.sleep(0)
        if in_the_same_moment:
            prompts.release("cat")
            leaving.cancel()
        else:
            leaving.cancel()
            await asyncio.sleep(0)
            prompts.release("cat")

    assert order == ["stayer"]
    assert not prompts.held("cat")


async def test_a_shared_prompt_is_free_when_all_let_it_go() -> None:
    """Who shares a held prompt keeps it from others after the first holder's release."""
    freed = list[str]()
    prompts = Prompts(freed.append)
    prompts.take("cat")
    prompts.share("cat")
    prompts.share("cat")

    for left in (2, 1, 0):
        assert freed == []
        assert prompts.held("cat"), left
        prompts.release("cat")

    assert freed == ["cat"]
