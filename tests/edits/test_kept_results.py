"""Answers by a URL of ours: the picture is kept before it is told, once, and never lost."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.clock import Phases
from gateway.domain.edit import OutputOptions, ResponseFormat, Size
from gateway.domain.errors import InvalidRequest, ResultStoreUnavailable, ResultUnavailable
from gateway.edits.ports import ResultPlace, Results
from gateway.edits.request import EditResult
from gateway.edits.service import EditService
from tests.edits.harness import EditHarness, complete, error_of, picture_bytes, retry_until_done
from tests.edits.masked import LAID, MASKED, masked
from tests.fake_stores import FakeResults
from tests.fakes import Run, Submit

pytestmark = pytest.mark.anyio

BY_URL = OutputOptions(ResponseFormat.URL)
SCALED = replace(BY_URL, scale_to=Size(500, 500), output_format="webp")
DEFAULT = replace(BY_URL, url_by_default=True)
AWAY = ResultStoreUnavailable("away", retry_after=5.0)


async def collect(
    harness: EditHarness,
    service: EditService,
    edit_id: str,
    response_format: ResponseFormat | None = None,
) -> EditResult:
    """GET an edit by its id."""
    phases = Phases(harness.clock.now())
    found = service.collect(
        harness.tenants[0],
        edit_id,
        patience=60.0,
        phases=phases,
        response_format=response_format,
    )
    async with found as waiter:
        answer = await waiter.answer()
        await waiter.delivered()
        return answer


def downloads(harness: EditHarness) -> int:
    return sum(call.operation == "download" for call in harness.dashscope.calls)


@pytest.mark.parametrize("n", [1, 3, 6])
async def test_kept_in_order(n: int) -> None:
    """Every picture of every part is kept as DashScope made it, and answered in order."""
    harness, results = EditHarness(), FakeResults()
    async with harness.service(results=results) as service:
        answer = await complete(service, harness.request(n=n, output=BY_URL))

    edit_id = answer.status.edit_id
    places = [ResultPlace("acme", edit_id, i // 4, i % 4, "png") for i in range(n)]
    assert [kept.name for kept in answer.kept] == [f"{i // 4}-{i % 4}.png" for i in range(n)]
    assert (answer.pictures, answer.urls, answer.delivered) == ((), (), n)
    assert set(results.kept) == set(places)
    by_place = [results.kept[place].rpartition(b"|")[2] for place in places]
    assert by_place == [str(i % 4).encode() for i in range(n)]


async def test_finished_pictures() -> None:
    """A picture that is scaled and encoded is kept so, under its own ending."""
    harness, results = EditHarness(), FakeResults()
    async with harness.service(results=results) as service:
        answer = await complete(service, harness.request(output=SCALED))

    (picture,) = results.kept.values()
    assert picture.endswith(b" as webp 500x500")
    assert [kept.name for kept in answer.kept] == ["0-0.webp"]


async def test_masked_pictures() -> None:
    """A masked picture is composed and kept; who comes again needs no mask any more."""
    harness, results = EditHarness(), FakeResults()
    output = replace(MASKED, response_format=ResponseFormat.URL)
    async with harness.service(results=results) as service:
        request = masked(harness)
        request.edit = replace(request.edit, output=output)
        first = await complete(service, request)
        await harness.mask_sources.drop(first.status.edit_id)
        again = await collect(harness, service, first.status.edit_id)

    (picture,) = results.kept.values()
    assert picture.endswith(LAID)
    assert again.kept == first.kept


async def test_a_picture_that_cannot_be_finished() -> None:
    """It is as lost by URL as it is in base64, and the client is told for good."""
    harness, results = EditHarness(), FakeResults()
    harness.finisher.broken = 99
    async with harness.service(results=results) as service:
        error = await error_of(complete(service, harness.request(output=SCALED)))

    assert isinstance(error, ResultUnavailable)
    assert not error.retry
    assert results.kept == {}


async def test_written_once_for_all_who_wait() -> None:
    """Clients that wait for one edit get the same URL; it was downloaded and written once."""
    harness, results = EditHarness(), FakeResults()
    harness.dashscope.submits.append(Submit(run=Run(0.0, 5.0)))
    async with harness.service(results=results) as service, asyncio.TaskGroup() as group:
        first = group.create_task(complete(service, harness.request(output=BY_URL)))
        await harness.clock.sleep(1.0)
        retries = [
            group.create_task(complete(service, harness.request(output=BY_URL, retry_count=1)))
            for _ in range(5)
        ]

    answers = [first.result(), *(retry.result() for retry in retries)]
    assert {answer.kept for answer in answers} == {first.result().kept}
    assert results.calls.count("keep") == 1
    assert downloads(harness) == 1


async def test_a_replay_finds_it() -> None:
    """A key that is replayed, by another process too, gets the picture that is kept."""
    harness, results = EditHarness(), FakeResults()
    key: dict[str, Any] = {"idempotency_key": "k", "output": BY_URL}
    async with harness.service(results=results) as service:
        first = await complete(service, harness.request(**key))
        again = await complete(service, harness.request(**key))
    async with harness.service(results=results) as service:
        later = await complete(service, harness.request(**key))

    assert first.kept == again.kept == later.kept
    assert (again.replayed, later.replayed) == (True, True)
    assert results.calls.count("keep") == 1
    assert downloads(harness) == 1


async def test_dies_between_keeping_and_answering() -> None:
    """The next process answers with what was kept: nothing is paid, nor written, again."""
    harness, results = EditHarness(), FakeResults()
    async with (
        harness.service(results=results) as service,
        service.attend(harness.request(output=BY_URL)) as waiter,
    ):
        first = await waiter.answer()  # and it dies before it is sent
    async with harness.service(results=results) as service:
        later = await complete(service, harness.request(output=BY_URL, retry_count=1))

    assert later.kept == first.kept
    assert results.calls.count("keep") == 1
    assert sum(call.operation == "submit" for call in harness.dashscope.calls) == 1


async def test_a_full_store() -> None:
    """The edit is not lost: the SDK's retry joins it, and is answered once there is room."""
    harness, results = EditHarness(), FakeResults()
    results.faults["keep"] = [AWAY, AWAY]
    async with harness.service(results=results) as service:
        answer = await retry_until_done(
            service,
            lambda count: harness.request(output=BY_URL, retry_count=count),
            harness.clock,
        )

    assert len(answer.kept) == 1
    assert sum(call.operation == "submit" for call in harness.dashscope.calls) == 1


@pytest.mark.parametrize("fails", ["find", "keep"])
async def test_a_store_that_stays_away(fails: str) -> None:
    """The client is told to come again; GET has the picture itself meanwhile."""
    harness, results = EditHarness(), FakeResults()
    results.faults[fails] = [AWAY] * 99
    async with harness.service(results=results) as service:
        error = await error_of(complete(service, harness.request(output=BY_URL, n=3)))
        assert isinstance(error, ResultStoreUnavailable)
        assert error.edit_id is not None
        answer = await collect(harness, service, error.edit_id, ResponseFormat.B64_JSON)

    assert len(picture_bytes(answer)) == 3
    assert answer.kept == ()
    assert harness.bugs == []


async def test_one_of_several_is_gone() -> None:
    """The others keep their names, so that the one fits in when it is there again."""
    harness, results = EditHarness(), FakeResults()
    gone = ResultUnavailable("gone", retry=False)
    harness.dashscope.fail("download", gone, None, None, *[gone] * 5)
    async with harness.service(results=results) as service:
        first = await complete(service, harness.request(n=3, output=BY_URL, idempotency_key="k"))
        later = await complete(service, harness.request(n=3, output=BY_URL, idempotency_key="k"))

    names = [kept.name for kept in later.kept]
    assert names == ["0-0.png", "0-1.png", "0-2.png"]
    assert {kept.name for kept in first.kept} < set(names)
    assert len(first.kept) == 2
    assert results.calls.count("keep") == 3


async def test_each_client_gets_what_it_asked_for() -> None:
    """Who says b64_json gets pictures, though equal content is answered by URL by default."""
    harness, results = EditHarness(), FakeResults()
    async with harness.service(results=results) as service:
        by_default = await complete(service, harness.request(output=DEFAULT, idempotency_key="k"))
        in_base64 = await complete(
            service, harness.request(output=OutputOptions(), idempotency_key="k")
        )

    assert len(by_default.kept) == 1
    assert len(picture_bytes(in_base64)) == 1
    assert in_base64.replayed


async def test_a_url_of_what_was_requested_as_a_picture() -> None:
    """GET may ask for a URL where pictures are kept."""
    harness, results = EditHarness(), FakeResults()
    async with harness.service(results=results) as service:
        edit_id = (await complete(service, harness.request())).status.edit_id
        answer = await collect(harness, service, edit_id, ResponseFormat.URL)

    assert len(answer.kept) == 1


# ------------------------------------------------------------ without a store, before and after


async def test_without_results() -> None:
    """URLs are DashScope's own, and nothing is downloaded."""
    harness = EditHarness()
    async with harness.service() as service:
        answer = await complete(service, harness.request(output=BY_URL))

    assert answer.urls == ("https://oss.test/task-1/0",)
    assert answer.kept == ()
    assert downloads(harness) == 0


async def test_no_url_of_what_was_requested_as_a_picture() -> None:
    """Where none are kept, GET cannot ask for a URL of it, but for the picture of a URL."""
    harness = EditHarness()
    async with harness.service() as service:
        edit_id = (await complete(service, harness.request())).status.edit_id
        error = await error_of(collect(harness, service, edit_id, ResponseFormat.URL))
        by_url = (await complete(service, harness.request("b", output=BY_URL))).status.edit_id
        picture = await collect(harness, service, by_url, ResponseFormat.B64_JSON)

    assert isinstance(error, InvalidRequest)
    assert error.param == "response_format"
    assert len(picture_bytes(picture)) == 1


@pytest.mark.parametrize(
    ("output", "urls", "pictures"),
    [(BY_URL, 1, 0), (SCALED, 0, 1)],
    ids=["as-it-was-made", "scaled"],
)
async def test_results_are_switched_off(output: OutputOptions, urls: int, pictures: int) -> None:
    """What DashScope's URL cannot lead to is answered itself: it is paid for (P17)."""
    harness = EditHarness()
    on: Results | None = FakeResults()
    request: dict[str, Any] = {"idempotency_key": "k", "output": output}
    async with harness.service(results=on) as service:
        await complete(service, harness.request(**request))
    async with harness.service() as service:
        answer = await complete(service, harness.request(**request))

    assert (len(answer.urls), len(answer.pictures), answer.kept) == (urls, pictures, ())


async def test_results_are_switched_on() -> None:
    """An edit from before is answered by a URL of ours (P17)."""
    harness = EditHarness()
    request: dict[str, Any] = {"idempotency_key": "k", "output": BY_URL}
    async with harness.service() as service:
        await complete(service, harness.request(**request))
    async with harness.service(results=FakeResults()) as service:
        answer = await complete(service, harness.request(**request))

    assert len(answer.kept) == 1
    assert sum(call.operation == "submit" for call in harness.dashscope.calls) == 1
