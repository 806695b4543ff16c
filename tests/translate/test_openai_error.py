import json

import pytest

from gateway.domain import errors
from gateway.domain.errors import GatewayError, InternalError, InvalidRequest, RateLimited
from gateway.translate.openai_error import error_body, error_headers, error_object

ALL = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, GatewayError)
]


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in ALL])
def test_all_keys_are_always_there(kind: type[GatewayError]) -> None:
    """Each kind of end has message, type, param and code, as OpenAI's schema demands."""
    error = kind("What is wrong.")

    body = json.loads(error_body(error, "req_1"))

    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert (body["error"]["type"], body["error"]["code"]) == (kind.type, kind.code)
    assert body["error"]["param"] is None


def test_the_field_and_the_edit_are_named() -> None:
    """Param and the edit's id are told where they are known."""
    error = InvalidRequest("No.", param="size", code="unknown_parameter")
    error.edit_id = "edit_1"

    assert error_object(error, "req_1") == {
        "message": "No.",
        "type": "invalid_request_error",
        "param": "size",
        "code": "unknown_parameter",
        "edit_id": "edit_1",
    }


@pytest.mark.parametrize("kind", [InternalError, GatewayError])
def test_a_bug_tells_only_the_request_id(kind: type[GatewayError]) -> None:
    """What went wrong inside stays inside."""
    text = error_object(kind("KeyError: canary"), "req_1")

    assert "canary" not in str(text)
    assert "req_1" in str(text["message"])


@pytest.mark.parametrize(
    ("seconds", "whole", "milliseconds"),
    [
        pytest.param(12, "12", "12000", id="whole"),
        pytest.param(0.2, "1", "200", id="part of a second"),
        pytest.param(1.0001, "2", "1001", id="rounded up"),
        pytest.param(0, "1", "1", id="never 0"),
        pytest.param(-3, "1", "1", id="never less"),
        pytest.param(60, "60", "60000", id="the cap"),
        pytest.param(7200, "60", "60000", id="over the cap"),
    ],
)
def test_when_to_come_again(seconds: float, whole: str, milliseconds: str) -> None:
    """Both headers tell the same wait, above 0 and up to 60 s."""
    assert error_headers(RateLimited("Later.", retry_after=seconds)) == {
        "x-should-retry": "true",
        "retry-after": whole,
        "retry-after-ms": milliseconds,
    }


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        pytest.param(RateLimited("Later."), {"x-should-retry": "true"}, id="no time known"),
        pytest.param(InvalidRequest("No."), {"x-should-retry": "false"}, id="no retry"),
        pytest.param(
            RateLimited("No.", retry=False, retry_after=5),
            {"x-should-retry": "false"},
            id="a time without a retry misleads",
        ),
    ],
)
def test_whether_to_come_again(error: GatewayError, headers: dict[str, str]) -> None:
    """Every refusal says whether a retry makes sense; a time only goes with a yes."""
    assert error_headers(error) == headers
