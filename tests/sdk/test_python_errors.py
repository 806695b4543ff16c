"""Every error class of the openai package, with what its user reads."""

from typing import Any

import openai
import pytest

from gateway.sandbox import Answer, Drop, End, Fault
from tests.harness import KEY, ThreadedHarness, photo

_LONG = 6.0
"""Seconds: short for the gateway, whose second is an eighth, and long for a busy machine."""


def _edit(shared_gateway: ThreadedHarness, key: str = KEY, **more: Any) -> openai.APIStatusError:
    """Make an edit that ends badly, without retries."""
    fields = {"image": photo(), "prompt": "bad", **more}
    with (
        openai.OpenAI(api_key=key, base_url=shared_gateway.base_url, max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.images.edit(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("requested", "cls", "status", "code", "param", "says"),
    [
        pytest.param(
            {"key": "wk-nobody"},
            openai.AuthenticationError,
            401,
            "invalid_api_key",
            None,
            "Incorrect API key",
            id="key",
        ),
        pytest.param(
            {"n": 11}, openai.BadRequestError, 400, "invalid_value", "n", "10", id="n-too-high"
        ),
        pytest.param(
            {"size": "100x5000"},
            openai.BadRequestError,
            400,
            "invalid_value",
            "size",
            "100x5000",
            id="size",
        ),
        pytest.param(
            {"prompt": "x" * 2001},
            openai.BadRequestError,
            400,
            "string_above_max_length",
            "prompt",
            "2000",
            id="prompt-too-long",
        ),
        pytest.param(
            {"prompt": ""},
            openai.BadRequestError,
            400,
            "missing_required_parameter",
            "prompt",
            "prompt",
            id="prompt-empty",
        ),
        pytest.param(
            {"image": []},
            openai.BadRequestError,
            400,
            "missing_required_parameter",
            "image",
            "image",
            id="no-image",
        ),
        pytest.param(
            {"image": [photo()] * 4},
            openai.BadRequestError,
            400,
            "invalid_value",
            "image",
            "3",
            id="four-images",
        ),
        pytest.param(
            {"image": [photo(), b"no picture"]},
            openai.BadRequestError,
            400,
            "invalid_image_file",
            "image",
            "2",
            id="second-image-unreadable",
        ),
        pytest.param(
            {"model": "dall-e-9"},
            openai.BadRequestError,
            400,
            "invalid_value",
            "model",
            "dall-e-9",
            id="model",
        ),
        pytest.param(
            {"background": "transparent"},
            openai.BadRequestError,
            400,
            "invalid_value",
            "background",
            "background",
            id="background",
        ),
        pytest.param(
            {"prompt": "[sandbox:refuse DataInspectionFailed]"},
            openai.BadRequestError,
            400,
            "moderation_blocked",
            None,
            "safety system",
            id="moderation",
        ),
        pytest.param(
            {"image": bytes(6_000_000)},
            openai.APIStatusError,
            413,
            "request_too_large",
            None,
            "5000000",
            id="too-large",
        ),
        pytest.param(
            {"prompt": "[sandbox:fail InternalError.Timeout]"},
            openai.InternalServerError,
            500,
            "upstream_failed",
            None,
            "upstream failed",
            id="task-failed",
        ),
        pytest.param(
            {"prompt": "[sandbox:seconds 30]", "timeout": _LONG},
            openai.InternalServerError,
            503,
            "still_running",
            None,
            "Send the same request again",
            id="still-running",
        ),
    ],
)
def test_error(
    shared_gateway: ThreadedHarness,
    requested: dict[str, Any],
    cls: type[openai.APIStatusError],
    status: int,
    code: str,
    param: str | None,
    says: str,
) -> None:
    """The SDK raises the class of the status; code, param and message are the gateway's."""
    error = _edit(shared_gateway, **requested)

    assert type(error) is cls
    assert (error.status_code, error.code, error.param) == (status, code, param)
    assert says in str(error)
    assert str(error).startswith(f"Error code: {status} - ")
    assert error.request_id


def test_rate_limit(shared_gateway: ThreadedHarness) -> None:
    """Throttled past its patience, the SDK raises RateLimitError with the time of a next try."""
    shared_gateway.add_faults(
        Fault("submit", Answer(429, "Throttling.RateQuota"), prompt="throttled", count=99)
    )

    error = _edit(shared_gateway, prompt="throttled", timeout=_LONG)

    assert type(error) is openai.RateLimitError
    assert (error.code, error.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert 0 < float(error.response.headers["retry-after-ms"]) <= 60_000
    assert shared_gateway.tasks("throttled") == []


def test_the_sdk_repeats_what_is_unbilled(shared_gateway: ThreadedHarness) -> None:
    """A task that failed for a reason of theirs is made again by the SDK itself."""
    shared_gateway.add_faults(Fault("submit", End("FAILED"), prompt="fails once", count=1))

    with openai.OpenAI(api_key=KEY, base_url=shared_gateway.base_url) as client:
        answer = client.images.edit(image=photo(), prompt="fails once")

    assert len(answer.data or []) == 1
    statuses = [task["status"] for task in shared_gateway.tasks("fails once")]
    assert statuses == ["FAILED", "SUCCEEDED"]


def test_the_sdk_does_not_repeat_what_is_final(shared_gateway: ThreadedHarness) -> None:
    """x-should-retry keeps the SDK from repeating a 500 that would come again."""
    prompt = "[sandbox:unknown]"

    with (
        openai.OpenAI(api_key=KEY, base_url=shared_gateway.base_url) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.images.edit(image=photo(), prompt=prompt)

    assert caught.value.code == "upstream_task_lost"
    assert len(shared_gateway.tasks(prompt)) == 1


def test_a_doubtful_end_is_told_once(shared_gateway: ThreadedHarness) -> None:
    """The SDK, which repeats every other 503, believes that this one is final."""
    prompt = "lost on the way"
    shared_gateway.add_faults(Fault("submit", Drop(after=True), prompt=prompt))
    fields: Any = {"image": photo(), "prompt": prompt, "model": "qwen-image-edit-plus"}

    with (
        openai.OpenAI(api_key=KEY, base_url=shared_gateway.base_url, max_retries=5) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.images.edit(**fields)

    assert (caught.value.status_code, caught.value.code) == (503, "submit_uncertain")
    assert "may have been made and paid for" in caught.value.message
    assert len(shared_gateway.tasks(prompt)) == 1
