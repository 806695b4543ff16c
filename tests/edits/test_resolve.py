"""An uncertain submit (P5), through the service: what the account's task list tells."""

import asyncio
import html
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from gateway.domain.errors import (
    GatewayError,
    LedgerUnavailable,
    SubmitUncertain,
    TaskLost,
    Throttled,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.task import Task, TaskPage, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.request import EditRequest, EditResult
from tests.edits.crashing import run_until_death
from tests.edits.harness import EditHarness, complete, error_of, picture_bytes, retry_until_done
from tests.fakes import FakeDashScope, Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio

CUT = SubmitUncertain("The connection was cut.")
NONE_MADE = Submit(CUT, makes=False)
TASK_MADE = Submit(CUT)


async def bought(harness: EditHarness, **changes: Any) -> EditResult:
    async with harness.service() as service:
        return await complete(service, harness.request(**changes))


async def test_none_made() -> None:
    """When no task shows up, the edit is submitted again once, 5 s after the cut or later."""
    harness = EditHarness()
    harness.dashscope.submits.append(NONE_MADE)

    answer = await bought(harness)

    first, second = (call.at for call in harness.dashscope.calls if call.operation == "submit")
    assert 5.0 <= second - (first + 0.1) < 8.0
    assert len(harness.dashscope.paid) == 1
    assert answer.status.task_ids == (harness.dashscope.paid[0].task_id,)
    assert not harness.observer.of("duplicate_prevented")


@pytest.mark.parametrize(
    "submit",
    [
        pytest.param(TASK_MADE, id="answer lost"),
        pytest.param(Submit(CUT, after=1.5), id="appears 1.5 s after the cut"),
        pytest.param(Submit(CUT, after=4.9), id="appears 4.9 s after the cut"),
        pytest.param(Submit(CUT, takes=60.0), id="answer waited for a minute"),
        pytest.param(Submit(CUT, run=Run(0.0, 0.1)), id="ended before the first look"),
        pytest.param(Submit(CUT, run=Run(20.0, 200.0)), id="takes long"),
    ],
)
@pytest.mark.parametrize("offset", [0.0, 30.0, -30.0])
async def test_made_but_answer_lost(submit: Submit, offset: float) -> None:
    """A task whose answer was lost is claimed: one submit, one task, its picture."""
    harness = EditHarness()
    harness.dashscope.offset = offset
    harness.dashscope.submits.append(submit)

    answer = await bought(harness)

    assert harness.dashscope.count("submit") == 1
    assert answer.status.task_ids == ("task-1",)
    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert harness.observer.of("duplicate_prevented") == [("ambiguous_found",)]
    assert harness.observer.states == {}


@pytest.mark.parametrize(
    ("run", "prompt"),
    [
        pytest.param(Run(), "another prompt", id="another prompt"),
        pytest.param(Run(end=TaskStatus.FAILED), "a red cat", id="failed"),
        pytest.param(Run(0.0, 0.0, end=TaskStatus.FAILED), "a red cat", id="failed at once"),
    ],
)
@pytest.mark.parametrize("submit", [TASK_MADE, NONE_MADE], ids=["made", "none made"])
async def test_stranger_in_the_window(submit: Submit, run: Run, prompt: str) -> None:
    """A stranger's task in the window is ruled out, whether ours was made or not."""
    harness = EditHarness()
    harness.dashscope.submits.append(submit)
    stranger = harness.dashscope.stranger(prompt, after=0.05, run=run)

    answer = await bought(harness)

    assert len(harness.dashscope.paid) == 1
    assert stranger not in answer.status.task_ids
    assert picture_bytes(answer)[0].startswith(harness.dashscope.paid[0].task_id.encode())


async def test_ours_failed() -> None:
    """A task of ours that FAILED without a known answer is unbilled, so another is submitted."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(CUT, run=Run(end=TaskStatus.FAILED)))

    answer = await bought(harness)

    assert harness.dashscope.count("submit") == 2
    assert answer.status.task_ids == ("task-2",)


async def test_two_of_the_same_prompt_cannot_be_told_apart() -> None:
    """With a stranger's task of our very prompt no picture is given, and nothing is repeated."""
    harness = EditHarness()
    harness.dashscope.submits.append(TASK_MADE)
    harness.dashscope.stranger("a red cat", after=0.05)

    refused = await error_of(bought(harness))

    assert isinstance(refused, TaskLost)
    assert not refused.retry
    assert harness.dashscope.count("submit") == 1


async def test_a_task_that_hides_its_prompt() -> None:
    """An ended task without its prompt can be anybody's: no picture is given."""
    harness = EditHarness()
    harness.dashscope.submits.append(TASK_MADE)
    harness.dashscope.silent = True

    refused = await error_of(bought(harness))

    assert isinstance(refused, TaskLost)
    assert harness.dashscope.count("submit") == 1


@pytest.mark.parametrize(
    "submits", [(TASK_MADE, TASK_MADE), (NONE_MADE, TASK_MADE), (TASK_MADE, NONE_MADE)]
)
async def test_equal_prompts(submits: tuple[Submit, ...]) -> None:
    """Two edits of one prompt with dropped answers: no task too many, no picture swapped."""
    harness = EditHarness()
    harness.dashscope.submits.extend(submits)
    answers: dict[bytes, EditResult] = {}

    async with harness.service() as service:

        async def come(source: bytes) -> None:
            answers[source] = await complete(service, harness.request(picture=source))

        async with asyncio.TaskGroup() as group:
            group.create_task(come(b"first"))
            group.create_task(come(b"second"))

    assert len(harness.dashscope.paid) == 2
    for source, answer in answers.items():
        assert picture_bytes(answer)[0].split(b"|")[2] == source


@pytest.mark.parametrize("operation", ["tasks", "fetch"])
@pytest.mark.parametrize(
    "error", [UpstreamUnreachable("down"), Throttled("slow")], ids=["down", "throttled"]
)
async def test_list_refused_for_a_while(operation: str, error: GatewayError) -> None:
    """While nothing can be found out nothing is submitted; later the task is claimed."""
    harness = EditHarness()
    harness.dashscope.submits.append(TASK_MADE)
    harness.dashscope.fail(operation, *[error] * 20)

    answer = await bought(harness)

    assert harness.dashscope.count("submit") == 1
    assert answer.status.task_ids == ("task-1",)


async def test_never_found_out() -> None:
    """A list that is refused for hours ends in a loss that says so, not in a second task."""
    harness = EditHarness()
    harness.dashscope.submits.append(TASK_MADE)
    harness.dashscope.fail("tasks", *[UpstreamUnreachable("down")] * 20_000)

    refused = await error_of(bought(harness, patience=6 * 3600.0))

    assert isinstance(refused, TaskLost)
    assert harness.dashscope.count("submit") == 1


async def test_ledger_refuses_for_a_while() -> None:
    """While the ledger cannot say which tasks are ours none is claimed."""
    harness = EditHarness()
    harness.dashscope.submits.append(TASK_MADE)
    harness.ledger.faults["find_tasks"] = [LedgerUnavailable("full")] * 3

    answer = await bought(harness)

    assert harness.dashscope.count("submit") == 1
    assert answer.status.task_ids == ("task-1",)


async def test_many_pages() -> None:
    """The task is found though the window holds more tasks than a page."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(CUT, after=0.5))
    for number in range(230):
        harness.dashscope.stranger(f"other {number}", after=0.01, run=Run(0.0, 1.0))

    answer = await bought(harness, patience=1000.0)

    assert harness.dashscope.count("submit") == 1
    assert answer.pictures == (b"task-231|a red cat|in|0",)


async def test_more_pages_than_are_read() -> None:
    """A window with more tasks than a hundred pages tells nothing: no second submit."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(CUT, after=0.02))
    harness.dashscope.page_limit = 1
    for number in range(110):
        harness.dashscope.stranger(f"other {number}", after=0.01, run=Run(0.0, 1.0))

    refused = await error_of(bought(harness, patience=1000.0))

    assert isinstance(refused, TaskLost)
    assert harness.dashscope.count("submit") == 1


async def test_a_task_that_the_list_calls_ended_too_early() -> None:
    """Where list and fetch disagree about an end, the task is looked at again."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(CUT))
    harness.dashscope.hasty = True

    answer = await bought(harness)

    assert harness.dashscope.count("submit") == 1
    assert answer.status.task_ids == ("task-1",)


class ShortList(FakeDashScope):
    """For its first looks the list counts a task that it does not show."""

    looks = 8

    async def tasks(self, *given: Any, **named: Any) -> TaskPage:
        page = await super().tasks(*given, **named)
        self.looks -= 1
        return page if self.looks < 0 else TaskPage((), total=page.total, pages=1)


async def test_a_list_that_is_not_whole() -> None:
    """A list with fewer rows than it counts proves nothing: no second task is made."""
    harness = EditHarness()
    harness.dashscope = ShortList(harness.clock)
    harness.dashscope.submits.append(Submit(CUT))

    answer = await bought(harness)

    assert harness.dashscope.count("tasks") > 8
    assert harness.dashscope.count("submit") == 1
    assert answer.status.task_ids == ("task-1",)


class InaccurateDashScope(FakeDashScope):
    """A region whose list and whose tasks tell what they do not tell as they were told it."""

    shift = 0.0
    strangers_only = False
    spelt: Callable[[str], str] = staticmethod(lambda model: model)
    report_prompt: Callable[[str], str | None] = staticmethod(lambda prompt: prompt)

    async def tasks(self, *given: Any, **named: Any) -> TaskPage:
        page = await super().tasks(*given, **named)
        rows = tuple(
            replace(row, created=row.created + self.shift, model=self.spelt(row.model))
            for row in page.rows
        )
        return replace(page, rows=rows)

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        task = await super().fetch(upstream, task_id)
        prompt = task.orig_prompt
        if prompt is None or (self.strangers_only and not self.tasks_by_id[task_id].stranger):
            return task
        return replace(task, orig_prompt=self.report_prompt(prompt))


def inaccurate_harness(**how: Any) -> EditHarness:
    harness = EditHarness()
    harness.dashscope = dashscope = InaccurateDashScope(harness.clock)
    for name, value in how.items():
        setattr(dashscope, name, value)
    return harness


LONG = "A ﬁne & <b>Foto — naïve “quotes”,\r\n  two  lines, " + "and much more of it, " * 60


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"shift": -3.0}, id="three seconds before"),
        pytest.param({"shift": -50.0}, id="fifty seconds before"),
        pytest.param({"shift": 50.0}, id="fifty seconds after"),
        pytest.param({"spelt": lambda model: f"{model}-2025-09-23"}, id="a snapshot's name"),
        pytest.param({"spelt": lambda _: "Wan2.5-I2I"}, id="an alias"),
        pytest.param({"spelt": lambda _: "wanx2.5-i2i-preview"}, id="another spelling"),
        pytest.param({"report_prompt": lambda prompt: " ".join(prompt.split())}, id="white space"),
        pytest.param(
            {"report_prompt": lambda prompt: prompt.replace("\r\n", "\n")}, id="line ends"
        ),
        pytest.param({"report_prompt": partial(unicodedata.normalize, "NFD")}, id="NFD"),
        pytest.param({"report_prompt": partial(unicodedata.normalize, "NFKC")}, id="NFKC"),
        pytest.param({"report_prompt": html.escape}, id="escaped"),
        pytest.param({"report_prompt": lambda prompt: prompt.lower()}, id="small letters"),
        pytest.param({"report_prompt": lambda prompt: prompt[:800]}, id="cut at 800"),
        pytest.param({"report_prompt": lambda prompt: prompt[:500]}, id="cut at 500"),
        pytest.param({"report_prompt": lambda _: ""}, id="empty"),
        pytest.param({"report_prompt": lambda _: None}, id="absent"),
        pytest.param({"report_prompt": lambda _: " \n"}, id="blank"),
    ],
)
@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
async def test_a_near_miss_is_doubt(how: dict[str, Any], *, dies: bool) -> None:
    """A task that may be ours by another name, time or prompt forbids a second submit."""
    harness = inaccurate_harness(**how)
    harness.dashscope.submits.append(Submit(CUT))

    def request(count: int) -> EditRequest:
        return harness.request(LONG, retry_count=count)

    if dies:
        await run_until_death(harness, request, 5)
    async with harness.service() as service:
        refused = await error_of(retry_until_done(service, request, harness.clock))

    assert isinstance(refused, TaskLost)
    assert not refused.retry
    assert harness.dashscope.count("submit") == 1


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"spelt": lambda _: "wanx2.1-kf2v-plus"}, id="a video"),
        pytest.param({"spelt": lambda _: "wan2.6-image"}, id="another model of ours"),
        pytest.param({"spelt": lambda _: "wan2.5-t2i-preview-2025"}, id="another kind"),
        pytest.param({"spelt": lambda _: "qwen-image-edit"}, id="another line"),
        pytest.param({"report_prompt": lambda prompt: prompt + " more"}, id="another prompt"),
        pytest.param(
            {"report_prompt": lambda prompt: prompt[:900] + "another end"}, id="another end"
        ),
        pytest.param({"shift": -100.0}, id="long before"),
    ],
)
async def test_what_is_surely_anothers(how: dict[str, Any]) -> None:
    """Another's task in the window, running or ended, does not keep ours from being made."""
    harness = inaccurate_harness(**how, strangers_only=True)
    harness.dashscope.submits.append(NONE_MADE)
    harness.dashscope.stranger(LONG, after=0.05, run=Run(0.0, 2.0))

    async with harness.service() as service:
        await complete(service, harness.request(LONG))

    assert harness.dashscope.count("submit") == 2


async def test_ours_beside_a_near_miss() -> None:
    """The one task of our prompt, model and window is ours, whatever nearly is."""
    harness = EditHarness()
    harness.dashscope.stranger("a red cat", run=Run(0.0, 1.0))
    await harness.clock.sleep(20.0)
    harness.dashscope.submits.append(TASK_MADE)

    answer = await bought(harness)

    assert answer.status.task_ids == ("task-2",)


async def test_what_was_there_before_is_not_ours() -> None:
    """A task that a search has seen is not taken for that of a later submit."""
    harness = EditHarness()
    harness.dashscope.submits.extend([TASK_MADE, NONE_MADE])
    harness.dashscope.stranger("a red cat", after=0.05)
    async with harness.service() as service:
        first = await error_of(complete(service, harness.request()))
        await complete(service, harness.request(picture=b"second"))

    assert isinstance(first, TaskLost)
    assert harness.dashscope.count("submit") == 3


async def test_tasks_that_come_later_are_not_waited_for() -> None:
    """On a busy account the search ends: what appears after the quiet is not ours."""
    harness = EditHarness()
    harness.dashscope.submits.append(NONE_MADE)
    for number in range(100):
        harness.dashscope.stranger(f"other {number}", after=0.7 * number, run=Run(0.0, 8.0))
    async with harness.service() as service:
        began = harness.clock.now()
        await complete(service, harness.request(patience=1000.0))

    submits = [call.at for call in harness.dashscope.calls if call.operation == "submit"]
    assert submits[1] - began < 30.0


async def test_a_shared_account() -> None:
    """Where others use the account, one task of our prompt proves nothing; none proves none."""
    shared = an_account(shared=True)
    harness = EditHarness(a_tenant("acme", an_upstream(account=shared)))
    harness.dashscope.submits.extend([TASK_MADE, NONE_MADE])

    refused = await error_of(bought(harness))
    answer = await bought(harness, prompt="another")

    assert isinstance(refused, TaskLost)
    assert not refused.retry
    assert answer.delivered == 1
    assert harness.dashscope.count("submit") == 3


async def test_a_key_that_is_refused_while_it_looks() -> None:
    """Any key of the account finds the task."""
    harness = EditHarness(a_tenant("acme", an_upstream("one"), an_upstream("two")))
    harness.dashscope.submits.append(TASK_MADE)
    harness.dashscope.fail("tasks", UpstreamUnavailable("The key is refused."))

    answer = await bought(harness)

    looks = [call.upstream for call in harness.dashscope.calls if call.operation == "tasks"]
    assert looks[:2] == ["one", "two"]
    assert answer.delivered == 1


def blocked(meaning: GatewayError) -> SubmitUncertain:
    """A middlebox's refusal, which means *meaning* if nothing was made."""
    error = SubmitUncertain("Somebody in between answered.")
    error.refusal = meaning
    return error


async def test_a_middlebox_refuses_what_it_passed_on() -> None:
    """A refusal that is not DashScope's is looked up: the task behind it is found."""
    harness = EditHarness()
    refused = UpstreamUnavailable("The key is refused.", retry=False)
    harness.dashscope.submits.append(Submit(blocked(refused)))

    answer = await bought(harness)

    assert harness.dashscope.count("submit") == 1
    assert answer.delivered == 1


async def test_a_middlebox_refuses_what_it_kept() -> None:
    """When the list shows that nothing was made, it is refused, not submitted for ever."""
    harness = EditHarness()
    refused = UpstreamUnavailable("The key is refused.", retry=False)
    harness.dashscope.submits.extend([Submit(blocked(refused), makes=False)] * 10)

    error = await error_of(bought(harness))

    assert isinstance(error, UpstreamUnavailable)
    assert harness.dashscope.count("submit") == 1
    assert harness.ledger.records == []


async def test_a_middlebox_throttles() -> None:
    """Its 429 is waited for as DashScope's is, once the list shows that nothing was made."""
    harness = EditHarness()
    harness.dashscope.submits.append(Submit(blocked(Throttled("slow")), makes=False))

    answer = await bought(harness)

    assert harness.dashscope.count("submit") == 2
    assert answer.delivered == 1


async def test_a_submit_that_the_list_has_forgotten() -> None:
    """After 24 hours the list proves nothing any more: what may be paid is not paid again."""
    harness = EditHarness()
    harness.dashscope.submits.append(TASK_MADE)

    def request(count: int) -> EditRequest:
        return harness.request(retry_count=count)

    await run_until_death(harness, request, 7)
    await harness.clock.sleep(25 * 3600.0)
    harness.dashscope.tasks_by_id.clear()
    async with harness.service() as service:
        refused = await error_of(retry_until_done(service, request, harness.clock))

    assert isinstance(refused, TaskLost)
    assert harness.dashscope.count("submit") == 1
