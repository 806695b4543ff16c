"""Models that answer their submit with the pictures: nothing is asked twice, nothing is guessed."""

import asyncio

import pytest

from gateway.domain.clock import Phase
from gateway.domain.errors import (
    LedgerUnavailable,
    ResultUnavailable,
    StillRunning,
    SubmitUncertain,
    Throttled,
    UpstreamUnavailable,
)
from gateway.domain.record import EditState, TaskState
from gateway.polling.limiter import RateLimiter
from tests.edits.harness import EditHarness, complete, error_of, picture_bytes
from tests.edits.without_tasks import LOST, QWEN, a_harness, refused_or_made, request
from tests.fakes import Run, Submit, a_tenant, an_account, an_upstream

pytestmark = pytest.mark.anyio


async def test_one_edit() -> None:
    """It is sent once and nothing is asked afterwards; the wait counts as running."""
    harness = a_harness()
    async with harness.service() as service:
        requested = request(harness)
        answer = await complete(service, requested)
        spent = requested.phases.spent(harness.clock.now())

    assert answer.pictures == (b"task-1|a red cat|in|0",)
    assert answer.status.task_ids == ("request-task-1",)
    assert [call.operation for call in harness.dashscope.calls] == ["submit", "download"]
    assert spent[Phase.UPSTREAM_RUNNING] == pytest.approx(15.0, rel=0.01)
    assert sum(spent.values()) == pytest.approx(harness.clock.now() - 1000.0)
    assert harness.observer.of("task_ended") == [
        ("acme", "beijing", QWEN, "succeeded", pytest.approx(15.0, rel=0.01))
    ]
    assert harness.observer.of("polls_spent") == []
    assert harness.observer.states == {}
    assert (harness.ledger.records[0].state, harness.ledger.records[0].delivered) == (
        EditState.SUCCEEDED,
        True,
    )


async def test_it_runs_while_its_answer_is_out() -> None:
    """So it is shown, and so it is told to who asks for it by id."""
    harness = a_harness()
    async with harness.service() as service, asyncio.TaskGroup() as group:
        group.create_task(complete(service, request(harness)))
        await harness.clock.sleep(5.0)

        (seen,) = service.snapshot().running.rows
        assert (seen.stage, seen.phases[-1][0], seen.polls) == ("running", "upstream_running", 0)
        assert harness.observer.states == {"running": 1}
        assert service.busy == 1


async def test_equal_prompts_go_side_by_side() -> None:
    """No list is asked for a prompt, so nobody waits for another's answer."""
    harness = a_harness()
    async with harness.service() as service:
        first, second = await asyncio.gather(
            complete(service, request(harness)), complete(service, request(harness))
        )

    assert first.status.edit_id != second.status.edit_id
    assert len(harness.dashscope.paid) == 2
    assert harness.clock.now() - 1000.0 < 20.0


async def test_more_than_one_submit_makes() -> None:
    """Eight pictures are two submits at once, their pictures in order."""
    harness = a_harness()
    async with harness.service() as service:
        answer = await complete(service, request(harness, n=8))

    assert [picture[-1:] for picture in picture_bytes(answer)] == [
        b"%d" % i for i in (*range(6), 0, 1)
    ]
    assert harness.clock.now() - 1000.0 < 20.0


async def test_what_it_took_is_learned() -> None:
    """The next client is told how long the line takes."""
    harness = a_harness()
    async with harness.service() as service:
        await complete(service, request(harness))
        (account,) = service.snapshot().accounts.rows

    assert account.typical == pytest.approx(15.0, rel=0.05)


async def test_a_retry_joins() -> None:
    """A client who hung up finds the submit still out, and gets its pictures."""
    harness = a_harness()
    async with harness.service() as service:
        async with service.attend(request(harness)):
            await harness.clock.sleep(5.0)
        await harness.clock.sleep(5.0)
        assert service.busy == 1  # its answer would come to nobody
        answer = await complete(service, request(harness, retry_count=1))

    assert len(harness.dashscope.paid) == len(answer.pictures) == 1
    assert harness.dashscope.count("cancel") == 0


async def test_the_deadline() -> None:
    """It goes on: the client hears when to come again, and then gets the picture."""
    harness = a_harness()
    async with harness.service() as service:
        late = await error_of(complete(service, request(harness, patience=5.0)))
        await harness.clock.sleep(late.retry_after or 0.0)
        answer = await complete(service, request(harness, retry_count=1))

    assert isinstance(late, StillRunning)
    assert len(harness.dashscope.paid) == len(answer.pictures) == 1


async def test_a_lost_answer_ends_it() -> None:
    """No list knows it, so nothing is asked, nothing sent again, and the error says so."""
    harness = a_harness(Submit(LOST))
    async with harness.service() as service:
        error = await error_of(complete(service, request(harness)))

    assert isinstance(error, SubmitUncertain)
    assert (error.retry, error.upstream_code) == (False, "ReadError")
    assert "may have been made and paid for" in error.message
    assert [call.operation for call in harness.dashscope.calls] == ["submit"]
    (record,) = harness.ledger.records
    assert (record.state, record.error_code) == (EditState.FAILED, "submit_uncertain")
    assert record.tasks[0].state is TaskState.SUBMITTING
    assert harness.observer.of("task_failed")[0][2].message == error.message
    assert harness.observer.states == {}


@pytest.mark.parametrize("retry_count", [0, 1])
async def test_a_client_that_repeats_what_is_final_hears_it_again(retry_count: int) -> None:
    """The AI SDK and a job queue do: it is not paid for a second time by them."""
    harness = a_harness(Submit(LOST))
    async with harness.service() as service:
        errors = [await error_of(complete(service, request(harness)))]
        for seconds in (2.0, 30.0, 50.0):
            await harness.clock.sleep(seconds)
            errors.append(
                await error_of(complete(service, request(harness, retry_count=retry_count)))
            )

    assert [type(error) for error in errors] == [SubmitUncertain] * 4
    assert harness.dashscope.count("submit") == 1


async def test_an_equal_edit_later_is_a_new_one() -> None:
    """Who was told and sends it again two minutes later wants it made."""
    harness = a_harness(Submit(LOST))
    async with harness.service() as service:
        await error_of(complete(service, request(harness)))
        await harness.clock.sleep(125.0)
        answer = await complete(service, request(harness))

    assert answer.delivered == 1
    assert harness.dashscope.count("submit") == 2
    assert harness.ledger.records[0].delivered  # told: no process brings it up again


async def test_nobody_was_there_to_be_told() -> None:
    """Hours later it is told to who comes first, once."""
    harness = a_harness(Submit(LOST))
    async with harness.service() as service:
        async with service.attend(request(harness)):
            await harness.clock.sleep(1.0)
        await harness.clock.sleep(6 * 3600.0)
        error = await error_of(complete(service, request(harness)))
        await harness.clock.sleep(125.0)
        answer = await complete(service, request(harness))

    assert isinstance(error, SubmitUncertain)
    assert answer.delivered == 1


async def test_after_a_day_nobody_hears_of_it() -> None:
    """As of every edit; nothing is counted as a picture that was lost."""
    harness = a_harness(Submit(LOST))
    async with harness.service() as service:
        async with service.attend(request(harness)):
            await harness.clock.sleep(1.0)
        await harness.clock.sleep(24 * 3600.0 + 100.0)
        answer = await complete(service, request(harness))

    assert answer.delivered == 1
    assert harness.observer.of("undelivered") == []


async def test_a_key_hears_it_for_a_day() -> None:
    """The same key means the same edit; a new key makes a new one at once."""
    harness = a_harness(Submit(LOST))
    async with harness.service() as service:
        await error_of(complete(service, request(harness, idempotency_key="k1")))
        await harness.clock.sleep(3600.0)
        again = await error_of(complete(service, request(harness, idempotency_key="k1")))
        answer = await complete(service, request(harness, idempotency_key="k2"))

    assert (type(again), again.retry) == (SubmitUncertain, False)
    assert answer.delivered == 1
    assert harness.dashscope.count("submit") == 2


async def test_one_of_two_answers_is_lost() -> None:
    """What came is the answer: it is paid for, and not repeated for the sake of the rest."""
    harness = a_harness(Submit(), Submit(LOST))
    async with harness.service() as service:
        answer = await complete(service, request(harness, n=8))

    assert (answer.delivered, answer.requested) == (6, 8)
    assert harness.dashscope.count("submit") == 2


async def test_one_refused_and_one_lost() -> None:
    """The doubtful part speaks for both."""
    refused = UpstreamUnavailable("no")
    harness = a_harness(Submit(refused, makes=False), Submit(LOST))
    async with harness.service() as service:
        error = await error_of(complete(service, request(harness, n=8)))

    assert isinstance(error, SubmitUncertain)
    assert not error.retry


async def test_throttled() -> None:
    """Certainly nothing was made: it waits and is sent again."""
    harness = a_harness(Submit(Throttled("slow"), makes=False))
    async with harness.service() as service:
        answer = await complete(service, request(harness))

    assert (answer.delivered, harness.dashscope.count("submit")) == (1, 2)
    assert len(harness.dashscope.paid) == 1


async def test_a_key_of_the_account_that_is_refused() -> None:
    """The next one is tried: nothing was made."""
    harness = EditHarness(a_tenant("acme", an_upstream("one"), an_upstream("two")))
    harness.dashscope.down["one"] = UpstreamUnavailable("no", upstream_code="InvalidApiKey")
    async with harness.service() as service:
        answer = await complete(service, request(harness))

    assert answer.delivered == 1
    assert len(harness.dashscope.paid) == 1


async def test_a_slot_is_held_while_its_answer_is_out() -> None:
    """An account of one slot makes one picture after the other."""
    narrow = an_account(running_tasks=1, pending_ahead=0)
    harness = EditHarness(a_tenant("acme", an_upstream(account=narrow)))
    harness.dashscope.run = Run(0.0, 15.0)
    async with harness.service() as service:
        await asyncio.gather(*(complete(service, request(harness, f"cat {i}")) for i in range(3)))

    assert harness.clock.now() - 1000.0 >= 45.0


async def test_a_download_that_fails_at_first() -> None:
    """The same URL is tried again: no task would tell a fresh one."""
    harness = a_harness()
    harness.dashscope.fail("download", ResultUnavailable("cut"), ResultUnavailable("cut"))
    harness.result_urls.faults["put"] = [LedgerUnavailable("full")]
    async with harness.service() as service:
        answer = await complete(service, request(harness))

    assert answer.delivered == 1
    assert set(harness.result_urls.calls) == {"put"}


async def test_a_bug_after_the_answer() -> None:
    """It is carried on with what was answered; no second submit."""
    harness = a_harness()
    harness.ledger.faults["end_task"] = [ValueError("bug")]
    async with harness.service() as service:
        answer = await complete(service, request(harness))

    assert answer.delivered == 1
    assert harness.dashscope.count("submit") == len(harness.bugs) == 1


async def test_a_bug_between_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part whose first try surely made nothing is in no doubt: it is sent again."""
    turns, turn = iter((None, None, ValueError("bug"))), RateLimiter.acquire

    async def breaks_once(limiter: RateLimiter) -> None:
        if (bug := next(turns, None)) is not None:
            raise bug
        await turn(limiter)

    monkeypatch.setattr(RateLimiter, "acquire", breaks_once)
    harness = a_harness(Submit(run=Run(0.0, 0.5)), Submit(Throttled("slow"), makes=False))
    async with harness.service() as service:
        answer = await complete(service, request(harness, n=8))

    assert len(harness.bugs) == 1
    assert answer.delivered == 8
    assert sum(task.n for task in harness.dashscope.paid) == 8


async def test_who_repeats_it_for_ever_is_not_refused_for_ever() -> None:
    """The minute counts from the first telling: one lost answer blocks no canary for a day."""
    harness = a_harness(Submit(LOST))
    reported = 0
    async with harness.service() as service:
        while await refused_or_made(service, request(harness)) != "made":
            reported += 1
            await harness.clock.sleep(20.0)

    assert 3 <= reported <= 7
