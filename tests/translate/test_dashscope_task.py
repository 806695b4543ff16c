from typing import Any

import pytest

from gateway.domain.edit import Size
from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    TaskLost,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
)
from gateway.domain.task import Accepted, ResultImage, TaskRow, TaskStatus, Times
from gateway.translate.dashscope_task import read_accepted, read_answer, read_page, read_task

URL = "https://dashscope-result-sh.oss-cn-shanghai.aliyuncs.com/xxx.png?Expires=1&Signature=a%2Bb"
# The official sample of dashscope.md 3.3.
SUCCEEDED: dict[str, Any] = {
    "request_id": "d1f2a1be",
    "output": {
        "task_id": "7f4836cd",
        "task_status": "SUCCEEDED",
        "submit_time": "2025-09-23 22:14:10.800",
        "scheduled_time": "2025-09-23 22:14:10.825",
        "end_time": "2025-09-23 22:15:23.456",
        "results": [{"orig_prompt": "a cat", "actual_prompt": "A cat.", "url": URL}],
        "task_metrics": {"TOTAL": 1, "FAILED": 0, "SUCCEEDED": 1},
    },
    "usage": {"image_count": 1},
}


@pytest.mark.parametrize(
    ("usage", "size"),
    [
        pytest.param({"image_count": 1, "size": "1376*768"}, Size(1376, 768), id="wan2.6"),
        pytest.param({"width": 1040, "height": 1024}, Size(1040, 1024), id="qwen-2.0"),
        pytest.param({"output_width": 2048, "output_height": 2048}, Size(2048, 2048), id="3.0"),
        pytest.param({"image_count": 1}, None, id="wan2.5"),
        pytest.param({"size": "2K"}, None, id="a token"),
        pytest.param({"width": "1040", "height": 1024}, None, id="a text"),
        pytest.param(None, None, id="none"),
        pytest.param("x", None, id="no object"),
    ],
)
def test_the_size_that_was_made(usage: object, size: Size | None) -> None:
    """Each family tells the size of its pictures by other names, and wan2.5 not at all."""
    choice = {"message": {"content": [{"image": URL}]}}
    body = {**task_body("SUCCEEDED", choices=[choice]), "usage": usage}
    answered = read_answer({"output": {"choices": [choice]}, "usage": usage})

    assert [image.size for image in read_task(body).images] == [size]
    assert answered is not None
    assert answered.task is not None
    assert [image.size for image in answered.task.images] == [size]


@pytest.mark.parametrize(
    ("usage", "inputs"),
    [
        pytest.param({"input_image_count": 3}, 3, id="3.0"),
        pytest.param({"input_image_count": 0}, 0, id="none put in"),
        pytest.param({"input_image_count": -1}, None, id="nonsense"),
        pytest.param({"image_count": 1}, None, id="another model"),
        pytest.param(None, None, id="none"),
    ],
)
def test_the_pictures_put_in(usage: object, inputs: int | None) -> None:
    """Models that bill pictures put in tell for how many."""
    choice = {"message": {"content": [{"image": URL}]}}
    body = {**task_body("SUCCEEDED", choices=[choice]), "usage": usage}
    answered = read_answer({"output": {"choices": [choice]}, "usage": usage})

    assert read_task(body).inputs == inputs
    assert answered is not None
    assert answered.task is not None
    assert answered.task.inputs == inputs


def test_the_prompt_that_was_used() -> None:
    """What DashScope made of the prompt is known where it tells so, and is in no repr."""
    (image,) = read_task(SUCCEEDED).images

    assert image.prompt == "A cat."
    assert "cat" not in repr(image)


@pytest.mark.parametrize(
    ("message", "prompt"),
    [
        pytest.param(
            {"content": [{"image": URL}, {"text": "A cat."}], "reasoning_content": ""},
            "A cat.",
            id="z-image",
        ),
        pytest.param({"content": [{"image": URL}, {"text": "No."}]}, "", id="a refusal in words"),
        pytest.param({"content": [{"image": URL}], "reasoning_content": "x"}, "", id="no text"),
        pytest.param(
            {"content": [{"image": URL}, {"text": 7}], "reasoning_content": ""}, "", id="a number"
        ),
    ],
)
def test_the_prompt_of_an_answer(message: dict[str, Any], prompt: str) -> None:
    """z-image-turbo tells what it made of the prompt; the words of other models are none."""
    answered = read_answer({"output": {"choices": [{"message": message}]}})

    assert answered is not None
    assert answered.task is not None
    assert [(image.url, image.prompt) for image in answered.task.images] == [(URL, prompt)]


def task_body(status: object, **more: object) -> dict[str, Any]:
    return {"request_id": "r", "output": {"task_id": "t", "task_status": status, **more}}


def test_an_accepted_submit() -> None:
    """A submit's answer gives the task id, and the request id for the logs."""
    body = {"output": {"task_status": "PENDING", "task_id": "0385dc79"}, "request_id": "4909100c"}

    assert read_accepted(body) == Accepted(task_id="0385dc79", request_id="4909100c")


@pytest.mark.parametrize("read", [read_accepted, read_answer])
@pytest.mark.parametrize("output", [None, "t", {}, {"task_id": ""}, {"task_id": 7}, {"choices": 7}])
def test_no_answer_to_a_submit(read: Any, output: object) -> None:
    """Neither a task nor pictures: it is for others to say what that proves."""
    assert read({"output": output, "request_id": "r"}) is None


def test_a_model_without_tasks_answers_with_its_pictures() -> None:
    """As an ended task, in order; a choice without a picture is an error in its place."""
    result = {"message": {"content": [{"image": "https://a/1.png"}, {"text": "so"}]}}
    body = {"output": {"choices": [result, {"finish_reason": "length"}]}, "request_id": "r"}

    accepted = read_answer(body)

    assert accepted is not None
    assert accepted.task is not None
    first, second = accepted.task.results
    assert first == ResultImage("https://a/1.png")
    assert isinstance(second, UpstreamFailed)
    assert accepted.task.status is TaskStatus.SUCCEEDED
    assert accepted.task.task_id == accepted.task_id == "request-r"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="empty"),
        pytest.param([], id="a list"),
        pytest.param(None, id="null"),
        pytest.param({"output": {}}, id="no task id"),
        pytest.param({"output": {"task_id": ""}}, id="empty task id"),
        pytest.param({"output": {"task_id": 7}}, id="a number"),
        pytest.param({"output": "t"}, id="output is text"),
        pytest.param({"code": "", "message": "", "output": None}, id="decorated by an SDK"),
    ],
)
@pytest.mark.parametrize("read", [read_task, read_page])
def test_nonsense_is_the_upstreams_failure(read: Any, body: object) -> None:
    """An answer that is not of the documented shape never passes for one."""
    if read is read_task and isinstance(body, dict) and isinstance(body.get("output"), dict):
        body["output"].pop("task_status", None)

    with pytest.raises(UpstreamFailed):
        read(body)


@pytest.mark.parametrize("read", [read_task, read_page])
def test_a_200_with_a_code_is_an_error(read: Any) -> None:
    """A business code at top level is an error even under HTTP 200."""
    body = {"code": "Throttling.RateQuota", "message": "Slow down.", "request_id": "r"}

    with pytest.raises(Throttled) as refused:
        read(body)

    assert refused.value.upstream_request_id == "r"


def test_a_succeeded_task() -> None:
    """The sample of the documentation, read to the last field; its times are Beijing's."""
    task = read_task(SUCCEEDED)

    assert (task.task_id, task.status, task.request_id) == (
        "7f4836cd",
        TaskStatus.SUCCEEDED,
        "d1f2a1be",
    )
    assert task.results == task.images == (ResultImage(URL, prompt="A cat."),)
    assert task.fault is None
    assert task.orig_prompt == "a cat"
    assert task.times == Times(
        submitted=1758636850.8, scheduled=1758636850.825, ended=1758636923.456
    )


def test_a_partial_failure_keeps_its_order() -> None:
    """A picture that failed is an error in its place; the task has no fault of its own."""
    entries = [
        {"code": "InternalError.Timeout", "message": "An internal timeout error has occured."},
        {"url": URL, "orig_prompt": "a cat"},
        {"code": "DataInspectionFailed"},
        {},
        "nonsense",
    ]

    task = read_task(task_body("SUCCEEDED", results=entries))

    assert [type(result) for result in task.results] == [
        UpstreamFailed,
        ResultImage,
        ContentRefused,
        UpstreamFailed,
        UpstreamFailed,
    ]
    assert task.fault is None
    assert task.orig_prompt == "a cat"


@pytest.mark.parametrize(
    ("results", "kind"),
    [
        pytest.param([{"code": "DataInspectionFailed"}], ContentRefused, id="all failed"),
        pytest.param([], UpstreamFailed, id="empty"),
        pytest.param(None, UpstreamFailed, id="null"),
        pytest.param("x", UpstreamFailed, id="text"),
    ],
)
def test_a_succeeded_task_without_a_picture_tells_why(
    results: object, kind: type[GatewayError]
) -> None:
    """If no picture was made, the task's fault is the first picture's."""
    task = read_task(task_body("SUCCEEDED", results=results))

    assert task.images == ()
    assert type(task.fault) is kind
    assert not task.fault.retry
    assert len(task.results) == 1


@pytest.mark.parametrize(
    ("output", "kind", "retry"),
    [
        pytest.param(
            {"task_status": "FAILED", "code": "DataInspectionFailed", "message": "x"},
            ContentRefused,
            False,
            id="FAILED: content",
        ),
        pytest.param(
            {"task_status": "FAILED", "code": "Arrearage"}, UpstreamUnavailable, False, id="account"
        ),
        pytest.param({"task_status": "FAILED"}, UpstreamFailed, True, id="FAILED without a code"),
        pytest.param({"task_status": "CANCELED"}, TaskLost, True, id="CANCELED: it cost nothing"),
        pytest.param({"task_status": "UNKNOWN"}, TaskLost, False, id="UNKNOWN: it may have"),
    ],
)
def test_a_task_that_made_nothing(
    output: dict[str, str], kind: type[GatewayError], retry: bool
) -> None:
    """A task that ended without pictures has a fault that says whether to try again."""
    task = read_task({"request_id": "r", "output": {"task_id": "t", **output}})

    assert type(task.fault) is kind
    assert task.fault.retry is retry
    assert task.status.ended
    assert task.results == ()


@pytest.mark.parametrize(
    ("message", "status"),
    [
        pytest.param("PENDING", TaskStatus.PENDING, id="pending"),
        pytest.param("RUNNING", TaskStatus.RUNNING, id="running"),
        pytest.param("SUSPENDED", TaskStatus.RUNNING, id="an SDK's constant"),
        pytest.param("PAUSED", TaskStatus.RUNNING, id="a word of the future"),
    ],
)
def test_a_task_that_goes_on(message: str, status: TaskStatus) -> None:
    """A status that is not an end is asked after again; it brings no results."""
    task = read_task(task_body(message, results=[{"url": URL}]))

    assert (task.status, task.results, task.fault) == (status, (), None)


@pytest.mark.parametrize("status", [pytest.param(s, id=repr(s)) for s in (None, "", 7, ["x"])])
def test_a_task_without_a_status_tells_nothing(status: object) -> None:
    """Without a status nothing is known of the task."""
    with pytest.raises(UpstreamFailed):
        read_task(task_body(status))


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        pytest.param("2025-09-23 22:14:10.800", 1758636850.8, id="documented"),
        pytest.param("2025-09-23 22:14:10", 1758636850.0, id="without milliseconds"),
        pytest.param("2025-09-23T14:14:10+00:00", 1758636850.0, id="with an offset"),
        pytest.param("yesterday", None, id="nonsense"),
        pytest.param("", None, id="empty"),
        pytest.param(1758636850, None, id="a number"),
        pytest.param(None, None, id="null"),
    ],
)
def test_times(message: object, seconds: float | None) -> None:
    """Times without an offset are Beijing's; one that cannot be read is not there."""
    assert read_task(task_body("RUNNING", end_time=message)).times.ended == seconds


@pytest.mark.parametrize(
    ("task_id", "accepted"),
    [
        pytest.param("tâsk-\u6f22\n", True, id="not latin-1"),
        pytest.param("t" * 512, True, id="long"),
        pytest.param("t" * 513, False, id="too long to be asked for"),
        pytest.param(7, False, id="a number"),
        pytest.param(["t"], False, id="a list"),
    ],
)
def test_a_task_id_is_kept_as_it_came(task_id: object, *, accepted: bool) -> None:
    """A task can only be asked for by its very id, however strange that is; but not endless."""
    read = read_accepted({"output": {"task_id": task_id}, "request_id": 12})

    assert (None if read is None else (read.task_id, read.request_id)) == (
        (task_id, "12") if accepted else None
    )


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"total": "12", "total_page": "2"}, id="texts"),
        pytest.param({"total": 12.0, "total_page": 2.0}, id="floats"),
    ],
)
def test_numbers_may_come_as_texts(values: dict[str, object]) -> None:
    """Counts and times are read whether they are numbers or texts."""
    results = [1745568428109, "1745568428109", "2025-04-25 16:07:08.109"]
    rows = [{**ROW, "task_id": f"t{i}", "gmt_create": at} for i, at in enumerate(results)]

    page = read_page({"data": rows, **values})

    assert (page.total, page.pages) == (12, 2)
    assert [row.created for row in page.rows] == [1745568428.109] * 3


@pytest.mark.parametrize("count", [True, -1, "many", None, "9" * 5000, {"a": 1}])
def test_a_count_that_counts_nothing(count: object) -> None:
    """Then there is one page, and as many tasks as there are rows."""
    page = read_page({"data": [{**ROW, "gmt_create": 1}], "total": count, "total_page": count})

    assert (page.total, page.pages) == (1, 1)


def test_a_number_as_the_code_of_a_picture() -> None:
    """A picture that has a code in place of its URL was not made, whatever type the code has."""
    results = [{"url": "https://a.test/1"}, {"code": 500, "message": ["no", "text"]}]

    task = read_task(task_body("SUCCEEDED", results=results))

    assert len(task.images) == 1
    assert isinstance(task.results[1], UpstreamFailed)
    assert task.results[1].upstream_code == "500"


ROW = {"task_id": "t", "status": "RUNNING", "model_name": "wan2.5-i2i-preview"}


def test_a_page() -> None:
    """A page's times are epoch milliseconds; its rows become nouns in order."""
    body = {
        "total": 12,
        "total_page": 2,
        "page_no": 1,
        "page_size": 10,
        "request_id": "r",
        "data": [
            {**ROW, "gmt_create": 1745568428109, "start_time": 1},
            {"task_id": "u", "status": "SUSPENDED", "start_time": 1745568428000},
        ],
    }

    page = read_page(body)

    assert (page.total, page.pages) == (12, 2)
    assert page.rows == (
        TaskRow("t", TaskStatus.RUNNING, "wan2.5-i2i-preview", 1745568428.109),
        TaskRow("u", TaskStatus.RUNNING, "", 1745568428.0),
    )


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("x", id="text"),
        pytest.param({**ROW, "gmt_create": 1, "task_id": None}, id="no id"),
        pytest.param({**ROW, "gmt_create": 1, "status": None}, id="no status"),
        pytest.param(ROW, id="no time"),
        pytest.param({**ROW, "gmt_create": "soon"}, id="time is text"),
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_but_counted(row: object) -> None:
    """Such a row is skipped, and the total still tells that there is one more."""
    page = read_page({"data": [row, {**ROW, "gmt_create": 1000}]})

    assert (len(page.rows), page.total, page.pages) == (1, 2, 1)


def test_an_empty_account() -> None:
    """A list of nothing is a page without rows."""
    assert read_page({"data": None, "total": 0}).rows == ()
    assert read_page({"data": [], "total": 0, "total_page": 0}).pages == 0


@pytest.mark.parametrize("data", [pytest.param(d, id=repr(d)) for d in (None, "t", 7, {"a": 1})])
def test_a_missing_list_is_not_an_empty_one(data: object) -> None:
    """No list is no proof that there is no task: it must not look like one."""
    with pytest.raises(UpstreamFailed):
        read_page({"data": data})


def _choice(*content: object) -> dict[str, Any]:
    return {"finish_reason": "stop", "message": {"role": "assistant", "content": list(content)}}


_IMAGE = {"type": "image", "image": URL}


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        pytest.param([_choice(_IMAGE), _choice(_IMAGE)], [True, True], id="one each"),
        pytest.param([_choice(_IMAGE, _IMAGE)], [True, True], id="two in one"),
        pytest.param([_choice({"text": "here"}, _IMAGE)], [True], id="text beside it"),
        pytest.param([_choice({"text": "no"}), _choice(_IMAGE)], [False, True], id="text alone"),
        pytest.param([_choice({"image": 5})], [False], id="no address"),
        pytest.param([{"code": "DataInspectionFailed"}, "x"], [False, False], id="no message"),
        pytest.param([], [False], id="none"),
        pytest.param("x", [False], id="no list"),
    ],
)
def test_the_newer_form_of_results(choices: object, expected: list[bool]) -> None:
    """Each picture of each choice is one, in order; what is none is why, and nothing is lost."""
    task = read_task(task_body("SUCCEEDED", choices=choices, finished=True))

    assert [isinstance(result, ResultImage) for result in task.results] == expected
    assert all(isinstance(result, ResultImage | GatewayError) for result in task.results)
    assert (task.fault is None) is any(expected)
    assert task.orig_prompt is None
