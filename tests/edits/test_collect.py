"""Through the service: pictures that are still on their way home when the answer begins."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.clock import Phases
from gateway.domain.edit import OutputOptions, ResponseFormat, Size
from gateway.domain.errors import ResultUnavailable, UpstreamFailed
from gateway.domain.task import ResultImage, Task, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.edits.request import IncomingPicture
from tests.edits.harness import EditHarness, complete, error_of, picture_bytes
from tests.fakes import FakeDashScope

pytestmark = pytest.mark.anyio


class Begun:
    """A picture that has begun: Incoming, and whether it was closed."""

    def __init__(self, content: bytes) -> None:
        self.length = len(content)
        self.head = content
        self.closed = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.head

    async def close(self) -> None:
        self.closed += 1


class Streaming(FakeDashScope):
    """Hands pictures on as they come."""

    def __init__(self, harness: EditHarness) -> None:
        super().__init__(harness.clock)
        self.begun: list[Begun] = []

    async def open(self, upstream: Upstream, url: str) -> bytes | IncomingPicture:
        picture = Begun(await self.download(upstream, url))
        self.begun.append(picture)
        return picture


def streaming() -> tuple[EditHarness, Streaming]:
    harness = EditHarness()
    harness.dashscope = dashscope = Streaming(harness)
    return harness, dashscope


async def test_closed_when_the_request_ends() -> None:
    """Pictures are open as long as their client is there, in order, and closed once."""
    harness, dashscope = streaming()
    async with harness.service() as service:
        async with service.attend(harness.request(n=6)) as waiter:
            answer = await waiter.answer()
            open_then = [picture.closed for picture in dashscope.begun]
        closed = [picture.closed for picture in dashscope.begun]

    assert open_then == [0] * 6
    assert closed == [1] * 6
    heads = [b"" if isinstance(picture, bytes) else picture.head for picture in answer.pictures]
    assert [head[-1:] for head in heads] == [b"0", b"1", b"2", b"3", b"0", b"1"]


async def test_one_of_several_fails_at_first() -> None:
    """Pictures that were begun in vain are closed like those that are handed on."""
    harness, dashscope = streaming()
    dashscope.fail("download", None, None, ResultUnavailable("cut"))
    async with harness.service() as service, service.attend(harness.request(n=3)) as waiter:
        answer = await waiter.answer()

    assert len(answer.pictures) == 3
    assert len(dashscope.begun) > 3
    assert all(picture.closed == 1 for picture in dashscope.begun)


GONE = ResultUnavailable("HTTP 404.", retry=False, upstream_code="oss.test: HTTP 404")
CUT = ResultUnavailable("cut")


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("form", [OutputOptions(), OutputOptions(scale_to=Size(1, 1))])
async def test_what_can_never_be_had_is_final(n: int, form: OutputOptions) -> None:
    """Six tries with fresh URLs find the same: the client hears an end, the operator why."""
    harness = EditHarness()
    harness.dashscope.fail("download", *[GONE] * 100)
    async with harness.service() as service:
        began = harness.clock.now()
        refused = await error_of(complete(service, harness.request(n=n, output=form)))
        took = harness.clock.now() - began

    assert isinstance(refused, ResultUnavailable)
    assert not refused.retry
    assert refused.upstream_code == "oss.test: HTTP 404"
    assert f"GET /v1/images/edits/{refused.edit_id}" in refused.message
    assert harness.dashscope.count("download") == 6 * n
    assert harness.dashscope.count("submit") == 1
    assert took < 30.0
    assert harness.observer.of("undelivered") == [("result_unavailable",)]
    assert harness.observer.of("pictures") == [
        ("acme", "beijing", "wan2.5-i2i-preview", "undelivered", n)
    ]
    ((event, text),) = harness.warnings
    assert event == "result_unavailable"
    assert (text["why"], text["region"]) == ("oss.test: HTTP 404", "beijing")


async def test_the_end_is_remembered_between_tries() -> None:
    """A client that waits too shortly for the verdict hears it from a later try."""
    harness, heard = EditHarness(), list[bool]()
    harness.dashscope.fail("download", *[GONE] * 100)
    async with harness.service() as service:
        for retry_count in range(6):
            request = harness.request(
                retry_count=retry_count, patience=11.2 if not retry_count else 1.2
            )
            heard.append((await error_of(complete(service, request))).retry)

    assert heard[0]
    assert not heard[-1]
    assert harness.observer.of("undelivered") == [("result_unavailable",)]
    assert len(harness.warnings) == 1


async def test_a_picture_comes_after_all() -> None:
    """A GET after the final word tries again, and gets the picture once it can be had."""
    harness = EditHarness()
    harness.dashscope.fail("download", *[GONE] * 6)
    async with harness.service() as service:
        refused = await error_of(complete(service, harness.request()))
        async with service.collect(
            harness.tenants[0],
            str(refused.edit_id),
            patience=60.0,
            phases=Phases(harness.clock.now()),
        ) as waiter:
            answer = await waiter.answer()

    assert len(picture_bytes(answer)) == 1


async def test_passing_failures_between_are_not_counted() -> None:
    """Only tries in a row are a verdict; what may pass is tried as long as the client waits."""
    harness = EditHarness()
    harness.dashscope.fail("download", *[GONE, GONE, GONE, GONE, CUT] * 4)
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert len(picture_bytes(answer)) == 1
    assert harness.warnings == []


async def test_the_others_are_delivered() -> None:
    """One picture of three that cannot be had does not take the others along."""
    harness = EditHarness()
    harness.dashscope.fail("download", *[GONE, None, None] * 6)
    async with harness.service() as service:
        answer = await complete(service, harness.request(n=3))

    assert (answer.delivered, answer.requested) == (2, 3)
    assert harness.observer.of("undelivered") == []
    assert [counted[3:] for counted in harness.observer.of("pictures")] == [
        ("delivered", 2),
        ("undelivered", 1),
    ]
    assert [len(bill.sizes) for *_, bill in harness.observer.of("task_billed")] == [3]
    assert len(harness.warnings) == 1


async def test_a_picture_that_cannot_be_decoded_is_final() -> None:
    """What came whole and cannot be read comes the same again."""
    harness = EditHarness()
    harness.finisher.broken = 100
    async with harness.service() as service:
        refused = await error_of(
            complete(service, harness.request(output=OutputOptions(scale_to=Size(1, 1))))
        )

    assert not refused.retry
    assert refused.upstream_code == "it cannot be decoded"


class BrokenLate(Begun):
    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.head
        raise GONE


async def test_a_picture_that_breaks_at_its_end() -> None:
    """One that was streamed and ends badly is read whole by the next try, which tells the end."""
    harness, dashscope = streaming()

    async def open_(upstream: Upstream, url: str) -> IncomingPicture:
        return BrokenLate(b"head")

    dashscope.open = open_  # type: ignore[method-assign]
    dashscope.fail("download", *[GONE] * 100)
    async with harness.service() as service:
        async with service.attend(harness.request()) as waiter:
            (picture,) = (await waiter.answer()).pictures
            assert not isinstance(picture, bytes)
            with pytest.raises(ResultUnavailable):
                _ = [chunk async for chunk in picture.chunks()]
        refused = await error_of(complete(service, harness.request(retry_count=1)))

    assert not refused.retry
    assert dashscope.count("submit") == 1


class Forgetful(FakeDashScope):
    """Answers the next fetches from a script."""

    script: list[Task]

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        task = await super().fetch(upstream, task_id)
        return self.script.pop(0) if task.status.ended and self.script else task


_NOTHING = Task(
    "task-1", TaskStatus.SUCCEEDED, (UpstreamFailed("no picture", retry=False),), UpstreamFailed("")
)
_UNKNOWN = Task("task-1", TaskStatus.UNKNOWN, fault=UpstreamFailed("unknown"))
_FAILED = Task("task-1", TaskStatus.FAILED, fault=UpstreamFailed("failed"))


@pytest.mark.parametrize(
    ("script", "had"),
    [
        pytest.param([_NOTHING] * 2, True, id="no-result-twice"),
        pytest.param([_UNKNOWN] * 2, True, id="unknown-twice"),
        pytest.param([_UNKNOWN] * 3, False, id="unknown"),
        pytest.param([_NOTHING] * 3, False, id="no-result"),
        pytest.param([_FAILED], False, id="failed-after-all"),
    ],
)
@pytest.mark.parametrize("form", [OutputOptions(), OutputOptions(ResponseFormat.URL)])
async def test_a_task_that_forgets(script: list[Task], form: OutputOptions, *, had: bool) -> None:
    """An answer without pictures is believed the third time, and is never a 200 of nothing."""
    harness = EditHarness()
    harness.dashscope = dashscope = Forgetful(harness.clock)
    dashscope.script = []
    async with harness.service() as service:
        edit_id = (await complete(service, harness.request(output=form))).status.edit_id
        dashscope.script = list(script)
        phases = Phases(harness.clock.now())
        async with service.collect(
            harness.tenants[0], edit_id, patience=60.0, phases=phases
        ) as waiter:
            end: Any = await asyncio.gather(waiter.answer(), return_exceptions=True)

    assert isinstance(end[0], ResultUnavailable) != had
    assert had or not end[0].retry


@pytest.mark.parametrize("glimpse", [_NOTHING, _UNKNOWN])
async def test_a_poll_without_a_result_is_repeated(glimpse: Task) -> None:
    """A SUCCEEDED that lacks its pictures once does not lose what was paid for."""
    harness = EditHarness()
    harness.dashscope = dashscope = Forgetful(harness.clock)
    dashscope.script = [glimpse]
    async with harness.service() as service:
        answer = await complete(service, harness.request())

    assert len(picture_bytes(answer)) == 1


def test_what_tells_nothing() -> None:
    """A picture, or a reason for there being none, is something."""
    result = Task("t", TaskStatus.SUCCEEDED, (ResultImage("https://a.test/"),))
    refused = UpstreamFailed("refused", retry=False)
    refused.upstream_code = "InternalError"

    assert not result.inconclusive
    assert not Task("t", TaskStatus.SUCCEEDED, (refused,)).inconclusive
    assert not _FAILED.inconclusive
    assert not Task("t", TaskStatus.RUNNING).inconclusive
    assert _NOTHING.inconclusive
    assert _UNKNOWN.inconclusive


async def test_what_came_otherwise_is_finished() -> None:
    """A picture that is not of the size asked for is read whole, closed, and made so."""
    harness, dashscope = streaming()
    request = harness.request(output=OutputOptions(scale_to=Size(1000, 1000)))
    async with harness.service() as service, service.attend(request) as waiter:
        answer = await waiter.answer()

    (picture,) = answer.pictures
    assert isinstance(picture, bytes)
    assert picture.endswith(b" as png 1000x1000")
    assert [begun.closed for begun in dashscope.begun] == [1]


class Telling(FakeDashScope):
    """Tells the size of what it made, and what it made of the prompt."""

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        task = await super().fetch(upstream, task_id)
        images = [replace(it, size=Size(2048, 2048), prompt="A cat.") for it in task.images]
        return replace(task, results=tuple(images))


@pytest.mark.parametrize(
    ("wanted", "came", "notes"),
    [
        pytest.param(Size(1000, 1000), Size(992, 992), ("size:992x992->1000x1000",), id="rounded"),
        pytest.param(Size(1024, 1024), Size(1024, 1024), (), id="as asked for"),
        pytest.param(Size(1024, 1024), None, ("size:768x768->1024x1024",), id="not known"),
        pytest.param(None, Size(2048, 2048), ("size:768x768->1024x1024",), id="nothing asked"),
    ],
)
async def test_what_came_is_told(
    wanted: Size | None, came: Size | None, notes: tuple[str, ...]
) -> None:
    """The size that came is told, whatever was expected; what cannot be known is as expected."""
    harness, dashscope = streaming()
    request = harness.request(
        output=OutputOptions(scale_to=wanted), adjusted=("1:rotated", "size:768x768->1024x1024")
    )
    async with harness.service() as service, service.attend(request) as waiter:
        answer = await waiter.answer()  # tells which bytes the fake makes
        first = dashscope.begun[0].head
        if came is not None:
            harness.finisher.sizes[first] = came
        answer = await waiter.answer()

    assert answer.adjusted == ("1:rotated", *notes)


@pytest.mark.parametrize("alpha", [True, False])
async def test_a_background_that_is_not_transparent_is_told(alpha: bool) -> None:
    """Where transparency was asked for and what came has no alpha channel, that is told."""
    harness, dashscope = streaming()
    request = harness.request(transparent=True)
    async with harness.service() as service, service.attend(request) as waiter:
        await waiter.answer()  # tells which bytes the fake makes
        waiter.active._opaque_came = False
        harness.finisher.clear = {dashscope.begun[0].head} if alpha else set()
        answer = await waiter.answer()

    assert answer.adjusted == (() if alpha else ("background:opaque",))


async def test_the_size_of_a_url_is_told() -> None:
    """A picture that is left at DashScope is told by the size that its task tells."""
    harness = EditHarness()
    harness.dashscope = Telling(harness.clock)
    request = harness.request(
        size=Size(1024, 1024), output=OutputOptions(response_format=ResponseFormat.URL)
    )
    async with harness.service() as service:
        answer = await complete(service, request)

    assert answer.adjusted == ("size:2048x2048",)
    assert answer.revised_prompts == ("A cat.",)
    assert replace(answer, urls=("a", "b")).revised_prompts == ()


async def test_a_picture_is_handed_on_to_its_end() -> None:
    """A picture that streams whole is whole, its part remembers nothing, and it can be closed."""
    harness, dashscope = streaming()
    async with harness.service() as service, service.attend(harness.request()) as waiter:
        (picture,) = (await waiter.answer()).pictures
        assert not isinstance(picture, bytes)
        content = b"".join([chunk async for chunk in picture.chunks()])
        await picture.close()
        assert all(begun.closed for begun in dashscope.begun)

    assert content == picture.head
    assert not any(run.broken_late for run in waiter.active.runs)


async def test_a_bug_in_one_of_several_downloads() -> None:
    """It comes out as itself, not as a group that nobody expects."""
    harness = EditHarness()
    harness.dashscope.fail("download", None, ValueError("a bug"))
    async with harness.service() as service:
        with pytest.raises(ValueError, match="a bug"):
            await complete(service, harness.request(n=3))
