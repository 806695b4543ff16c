"""The table of money in shapes: what each answer to a submit proves."""

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    InvalidRequest,
    RequestTooLarge,
    SubmitUncertain,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.models import Model
from gateway.domain.task import ResultImage
from gateway.translate.dashscope_request import submit_body
from gateway.upstream.submission import Outgoing, outcome_of, outcome_of_error
from tests.models import MODELS
from tests.upstream.wire import EDIT, PART, PICTURES, intent

pytestmark = pytest.mark.anyio

WITH_TASKS, WITHOUT = MODELS["wan2.5-i2i-preview"], MODELS["qwen-image-edit-plus"]


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        pytest.param(200, "InvalidApiKey", UpstreamUnavailable, id="200-key"),
        pytest.param(200, "DataInspectionFailed", ContentRefused, id="200-content"),
        pytest.param(200, "Throttling.RateQuota", Throttled, id="200-throttled"),
        pytest.param(200, "InternalError", SubmitUncertain, id="200-internal"),
        pytest.param(200, "NeverHeardOf", SubmitUncertain, id="200-unlisted"),
        pytest.param(400, "InvalidParameter", InvalidRequest, id="400"),
        pytest.param(400, "Arrearage", UpstreamUnavailable, id="400-arrears"),
        pytest.param(400, "NeverHeardOf", UpstreamFailed, id="400-unlisted"),
        pytest.param(401, "InvalidApiKey", UpstreamUnavailable, id="401"),
        pytest.param(408, "RequestTimeOut", SubmitUncertain, id="408"),
        pytest.param(429, "Throttling", Throttled, id="429"),
        pytest.param(429, "PrepaidBillOverdue", UpstreamUnavailable, id="429-bill"),
        pytest.param(500, "InternalError", SubmitUncertain, id="500"),
        pytest.param(503, "ModelServingError", SubmitUncertain, id="503"),
    ],
)
@pytest.mark.parametrize("model", [WITH_TASKS, WITHOUT], ids=lambda model: model.family)
def test_what_dashscope_says(
    status: int, code: str, error: type[GatewayError], model: Model
) -> None:
    """A refusal in DashScope's own words proves that nothing was made; other words do not."""
    body = {"code": code, "message": "No.", "request_id": "r-1"}

    with pytest.raises(error) as caught:
        outcome_of(httpx.Response(status, json=body), model)

    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        pytest.param(400, None, UpstreamFailed, id="400"),
        pytest.param(401, None, UpstreamUnavailable, id="401"),
        pytest.param(403, None, UpstreamUnavailable, id="403"),
        pytest.param(403, "<html>Access denied</html>", UpstreamUnavailable, id="403-page"),
        pytest.param(403, {"message": "Forbidden"}, UpstreamUnavailable, id="403-gateway"),
        pytest.param(403, {"code": 1020, "message": "no"}, UpstreamUnavailable, id="403-number"),
        pytest.param(
            403, {"code": "1020", "request_id": "r"}, UpstreamUnavailable, id="403-digits"
        ),
        pytest.param(
            403, {"code": "WAF_BLOCK", "message": "no"}, UpstreamUnavailable, id="403-unlisted"
        ),
        pytest.param(403, {"code": "AccessDenied"}, UpstreamUnavailable, id="403-code-alone"),
        pytest.param(403, {"request_id": "r-1"}, UpstreamUnavailable, id="403-id-alone"),
        pytest.param(
            403, {"error": {"code": "AccessDenied", "message": "no"}}, UpstreamUnavailable, id="in"
        ),
        pytest.param(407, None, UpstreamFailed, id="407"),
        pytest.param(413, "<html>", RequestTooLarge, id="413"),
        pytest.param(414, None, UpstreamFailed, id="414"),
        pytest.param(429, "slow down", Throttled, id="429"),
        pytest.param(431, None, UpstreamFailed, id="431"),
        pytest.param(451, None, UpstreamFailed, id="451"),
        pytest.param(301, None, UpstreamUnavailable, id="301"),
        pytest.param(302, "<html>Log in</html>", UpstreamUnavailable, id="portal"),
        pytest.param(307, None, UpstreamUnavailable, id="307"),
        pytest.param(408, None, None, id="408"),
        pytest.param(499, None, None, id="499"),
        pytest.param(504, None, None, id="504"),
        pytest.param(200, "<html>Welcome</html>", None, id="200-page"),
        pytest.param(200, {"code": "InvalidApiKey"}, None, id="200-code-alone"),
        pytest.param(200, {"output": {"task_id": ""}}, None, id="200-empty-id"),
        pytest.param(200, {"output": {"task_id": 5}}, None, id="200-odd-id"),
        pytest.param(200, ["a list"], None, id="200-list"),
        pytest.param(204, None, None, id="204"),
    ],
)
@pytest.mark.parametrize("model", [WITH_TASKS, WITHOUT], ids=lambda model: model.family)
def test_what_others_say(
    status: int, body: object, refused: type[GatewayError] | None, model: Model
) -> None:
    """Nobody between us and DashScope proves anything; what it means is kept for later."""
    page = {"text": body} if isinstance(body, str) else {"json": body}
    answer = httpx.Response(status, **page) if body is not None else httpx.Response(status)

    with pytest.raises(SubmitUncertain) as caught:
        outcome_of(answer, model)

    assert type(caught.value.refusal) is (refused or type(None))


@pytest.mark.parametrize("code", [pytest.param("", id="plain"), pytest.param("Odd", id="code")])
def test_a_task_id_is_believed(code: str) -> None:
    """A 2xx that names a task has made one, whatever else it says."""
    body = {"output": {"task_id": "t-1"}, "code": code}

    accepted = outcome_of(
        httpx.Response(200, json=body, headers={"x-request-id": "r-9"}), WITH_TASKS
    )

    assert (accepted.task_id, accepted.request_id) == ("t-1", "r-9")


def test_pictures_instead_of_a_task() -> None:
    """A model without tasks answers with the pictures; the request's id stands for the task's."""
    content = [{"image": "https://a/1.png"}, {"image": "https://a/2.png"}]
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    body = {"output": {"choices": [choice]}, "usage": {"image_count": 2}}

    accepted = outcome_of(httpx.Response(200, json=body, headers={"x-request-id": "r-9"}), WITHOUT)

    assert (accepted.task_id, accepted.request_id) == ("request-r-9", "r-9")
    assert accepted.task is not None
    assert accepted.task.images == (ResultImage("https://a/1.png"), ResultImage("https://a/2.png"))
    assert accepted.task.fault is None


@pytest.mark.parametrize(
    ("body", "model"),
    [
        pytest.param({"output": {"choices": []}}, WITH_TASKS, id="pictures-for-a-task"),
        pytest.param({"output": {"task_id": "t-1"}}, WITHOUT, id="a-task-for-pictures"),
    ],
)
def test_the_other_kinds_answer_is_none(body: object, model: Model) -> None:
    """What was made, if anything, cannot be told."""
    with pytest.raises(SubmitUncertain):
        outcome_of(httpx.Response(200, json=body), model)


def test_an_answer_without_pictures() -> None:
    """It made nothing and cost nothing, but would most likely do so again."""
    accepted = outcome_of(httpx.Response(200, json={"output": {"choices": []}}), WITHOUT)

    assert accepted.task_id == "request-unknown"
    assert accepted.task is not None
    assert accepted.task.images == ()
    assert isinstance(accepted.task.fault, UpstreamFailed)
    assert not accepted.task.fault.retry


async def test_uncertain_tells_the_operator_why() -> None:
    """What upstream said and under which request id stays with the error."""
    body = {"code": "InternalError", "request_id": "r-5"}

    with pytest.raises(SubmitUncertain) as caught:
        outcome_of(httpx.Response(500, json=body), WITH_TASKS)

    assert (caught.value.upstream_code, caught.value.upstream_request_id) == (
        "InternalError",
        "r-5",
    )


@pytest.mark.parametrize(
    ("exc", "asked_for", "error"),
    [
        pytest.param(httpx.ConnectError(""), False, UpstreamUnreachable, id="connect"),
        pytest.param(httpx.ConnectTimeout(""), False, UpstreamUnreachable, id="connect-timeout"),
        pytest.param(httpx.PoolTimeout(""), False, UpstreamUnreachable, id="pool"),
        pytest.param(httpx.ProxyError(""), False, UpstreamUnreachable, id="proxy"),
        pytest.param(httpx.ConnectTimeout(""), True, SubmitUncertain, id="lying-transport"),
        pytest.param(httpx.ReadError(""), False, SubmitUncertain, id="read-error-unasked"),
        pytest.param(httpx.WriteError(""), True, SubmitUncertain, id="write"),
        pytest.param(TimeoutError(), True, SubmitUncertain, id="patience-over"),
        pytest.param(RuntimeError("bug"), False, SubmitUncertain, id="unforeseen"),
    ],
)
async def test_two_witnesses(exc: Exception, error: type[GatewayError], *, asked_for: bool) -> None:
    """Nothing was sent only if the transport says so and no piece of the body was asked for."""
    outgoing = Outgoing(submit_body(WITH_TASKS, EDIT, PART, PICTURES), intent())
    if asked_for:
        await anext(_pieces(outgoing))

    assert type(outcome_of_error(exc, outgoing)) is error


async def _pieces(outgoing: Outgoing) -> AsyncIterator[bytes]:
    async for piece in outgoing:
        yield piece
