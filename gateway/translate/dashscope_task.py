"""DashScope's responses about tasks → Accepted, Task, TaskPage, or UpstreamFailed."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.domain.edit import Size
from gateway.domain.errors import GatewayError, TaskLost, UpstreamFailed
from gateway.domain.task import Accepted, ResultImage, Task, TaskPage, TaskRow, TaskStatus, Times
from gateway.translate.dashscope_fault import (
    code_of,
    count_of,
    fault,
    number_of,
    task_id_of,
    text_of,
)
from gateway.translate.dashscope_request import BEIJING

_LONGEST_PROMPT = 20_000
"""Characters; rewritten prompts have some hundred."""
_MOST_RESULTS = 64
"""Far above what any model makes; each is downloaded."""


def read_accepted(body: Mapping[str, Any]) -> Accepted | None:
    """Return the task that the answer to a submit names; ``None`` if it names none."""
    output = body.get("output")
    task_id = task_id_of(output) if isinstance(output, Mapping) else ""
    return Accepted(task_id, request_id=code_of(body, "request_id")) if task_id else None


def read_task(body: object) -> Task:
    """
    Read the answer of ``GET /tasks/{task_id}`` (dashscope.md 3.3).

    The pictures are in ``output.results``, or in ``output.choices`` of the newer family
    (dashscope.md 9), whose tasks do not show their prompt.

    A SUCCEEDED task may lack some of its pictures: such an entry of ``output.results`` has
    ``code`` and ``message`` in place of ``url`` and becomes a GatewayError in its place.
    If there is no picture at all, ``fault`` says why. An undocumented status, such as
    ``SUSPENDED``, is read as RUNNING: another fetch is cheap, giving up is not.

    Raises:
        UpstreamFailed: the body does not have the documented form.
        GatewayError: the fetch itself was refused.
    """
    answer = _check_refusal(body)
    output = answer.get("output")
    if not isinstance(output, Mapping):
        raise UpstreamFailed("The upstream's answer names no task.")
    status = _status(output.get("task_status"))
    if status is None:
        raise UpstreamFailed("The upstream's answer has no status.")
    made = _made_size(answer.get("usage"))
    results = _results(_entries(output), made) if status is TaskStatus.SUCCEEDED else ()
    return Task(
        task_id=task_id_of(output),
        status=status,
        results=results,
        fault=_why_none(status, output, results),
        times=Times(
            submitted=_epoch(output.get("submit_time")),
            scheduled=_epoch(output.get("scheduled_time")),
            ended=_epoch(output.get("end_time")),
        ),
        orig_prompt=_orig_prompt(output.get("results")),
        request_id=code_of(answer, "request_id"),
        inputs=_inputs(answer.get("usage")),
    )


def read_answer(body: Mapping[str, Any]) -> Accepted | None:
    """
    Read the response of a model without tasks as a task that has ended (D87).

    Returns:
        The pictures; ``None`` if the body names none.
    """
    match body:
        case {"output": {"choices": [*_]} as output}:
            results = _results(_entries(output), _made_size(body.get("usage")))
        case _:
            return None
    request_id = code_of(body, "request_id")
    task_id = f"request-{request_id or 'unknown'}"
    task = Task(
        task_id=task_id,
        status=TaskStatus.SUCCEEDED,
        results=results,
        fault=_why_none(TaskStatus.SUCCEEDED, output, results),
        request_id=request_id,
        inputs=_inputs(body.get("usage")),
    )
    return Accepted(task_id=task_id, request_id=request_id, task=task)


def read_page(body: object) -> TaskPage:
    """
    Read one page of ``GET /tasks`` (dashscope.md 4.2).

    A row without id, time or status is left out, but counted in ``total``, so that the
    caller can see that one is missing.

    Raises:
        UpstreamFailed: there is no list, which is not the same as an empty list.
        GatewayError: the call was refused.
    """
    answer = _check_refusal(body)
    data = answer.get("data")
    if data is None and count_of(answer.get("total")) == 0:
        data = []
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise UpstreamFailed("The upstream's answer holds no list of tasks.")
    rows = tuple(row for entry in data if (row := _row(entry)) is not None)
    total = count_of(answer.get("total"))
    pages = count_of(answer.get("total_page"))
    return TaskPage(
        rows=rows,
        total=len(data) if total is None else total,
        pages=1 if pages is None else pages,
    )


def _check_refusal(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise UpstreamFailed("The upstream's answer is not a JSON object.")
    if code := code_of(body, "code"):
        raise fault(code, text_of(body, "message"), request_id=code_of(body, "request_id"))
    return body


def _entries(output: Mapping[str, Any]) -> list[Any]:
    """Return the results in the older family's form; the newer one has them in messages."""
    if isinstance(results := output.get("results"), list):
        return results
    choices = output.get("choices")
    if not isinstance(choices, list):
        return []
    return [entry for choice in choices for entry in _pictures_of(choice)]


def _pictures_of(choice: Any) -> list[Any]:
    """Return an entry for each picture of a choice, or the choice itself, which has none."""
    match choice:
        case {"message": {"content": [*parts]}}:
            images = [part["image"] for part in parts if isinstance(part, dict) and "image" in part]
            prompt = _prompt_of(choice["message"], parts)
            return [{"url": image, "actual_prompt": prompt} for image in images] or [choice]
        case _:
            return [choice]


def _prompt_of(message: Mapping[str, Any], parts: Sequence[Any]) -> str:
    """
    Return what z-image-turbo made the picture of, which it tells beside it; empty: not told.

    Its messages alone have ``reasoning_content``; the texts of others are refusals in words.
    """
    texts = [text_of(part, "text") for part in parts if isinstance(part, dict) and "text" in part]
    return texts[0] if "reasoning_content" in message and len(texts) == 1 else ""


def _results(entries: Sequence[Any], size: Size | None) -> tuple[ResultImage | GatewayError, ...]:
    # A SUCCEEDED task was billed, and a new one would be billed again: no retry.
    return tuple(_result(entry, size) for entry in entries[:_MOST_RESULTS]) or (
        UpstreamFailed("The upstream made no picture.", retry=False),
    )


def _result(entry: Any, size: Size | None) -> ResultImage | GatewayError:
    match entry:
        case {"url": str(url)} if url:
            return ResultImage(url, size, text_of(entry, "actual_prompt")[:_LONGEST_PROMPT])
        case {"code": _} if code := code_of(entry, "code"):
            return fault(code, text_of(entry, "message"))
        case _:
            return UpstreamFailed("The upstream left out a picture without a reason.", retry=False)


def _made_size(usage: object) -> Size | None:
    """Return the size that ``usage`` has, by any of the names that models have for it."""
    match usage:
        case {"size": str(text)} if match := re.fullmatch(r"(\d{1,5})\*(\d{1,5})", text, re.ASCII):
            return Size(int(match[1]), int(match[2]))
        case {"width": int(width), "height": int(height)}:
            return Size(width, height)
        case {"output_width": int(width), "output_height": int(height)}:
            return Size(width, height)
        case _:
            return None


def _inputs(usage: object) -> int | None:
    """Return for how many pictures put in a task is billed, where ``usage`` says so."""
    return count_of(usage.get("input_image_count")) if isinstance(usage, Mapping) else None


def _why_none(
    status: TaskStatus, output: Mapping[str, Any], results: Sequence[ResultImage | GatewayError]
) -> GatewayError | None:
    code = code_of(output, "code")
    message = text_of(output, "message")
    match status:
        case TaskStatus.SUCCEEDED:
            faults = [result for result in results if isinstance(result, GatewayError)]
            return faults[0] if len(faults) == len(results) else None
        case TaskStatus.FAILED:
            return fault(code, message)
        case TaskStatus.CANCELED:
            # Only a PENDING task can be cancelled: it cost nothing.
            return TaskLost("The edit was cancelled; send it again.", retry=True)
        case TaskStatus.UNKNOWN:
            return TaskLost(
                "The upstream does not know this edit any more.", upstream_code=code or None
            )
        case _:
            return None


def _row(entry: object) -> TaskRow | None:
    if not isinstance(entry, Mapping):
        return None
    task_id = task_id_of(entry)
    status = _status(entry.get("status"))
    created = _instant(entry.get("gmt_create", entry.get("start_time")))
    if not task_id or status is None or created is None:
        return None
    return TaskRow(
        task_id=task_id,
        status=status,
        model=text_of(entry, "model_name"),
        created=created,
    )


def _status(value: object) -> TaskStatus | None:
    if not isinstance(value, str) or not value:
        return None
    try:
        return TaskStatus(value)
    except ValueError:
        return TaskStatus.RUNNING


def _instant(value: object) -> float | None:
    """Return epoch seconds of a row's time: milliseconds, unlike the single fetch's."""
    milliseconds = number_of(value)
    return _epoch(value) if milliseconds is None else milliseconds / 1000


def _epoch(value: object) -> float | None:
    """Return epoch seconds of ``2025-09-23 22:14:10.800``, which is Beijing's time."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=BEIJING)).timestamp()


def _orig_prompt(results: object) -> str | None:
    for entry in results if isinstance(results, list) else []:
        match entry:
            case {"orig_prompt": str(prompt)}:
                return prompt
    return None
