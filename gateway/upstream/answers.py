"""DashScope's HTTP answers: a mapping if there is one, and its refusal in our words."""

from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from gateway.domain.errors import GatewayError
from gateway.translate.dashscope_fault import fault, is_documented
from gateway.translate.dashscope_text import code_of, plain, text_of

_LONGEST_PAUSE = 60.0  # seconds; the bound of GatewayError.retry_after


def body_of(answer: httpx.Response) -> Mapping[str, Any]:
    """Return the JSON object of *answer*; empty for anything else, such as a proxy's page."""
    try:
        said = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def request_id_of(answer: httpx.Response, body: Mapping[str, Any]) -> str:
    """Return DashScope's request id, of the body or else of the header; empty if none."""
    return code_of(body, "request_id") or plain(answer.headers.get("x-request-id", ""))


def is_dashscopes(body: Mapping[str, Any]) -> bool:
    """
    Say whether *body* is a refusal by DashScope itself, and not by somebody in between.

    A firewall, a proxy or a captive portal may answer after it has passed a submit on. Only
    DashScope's own form is believed: a code with its request id, or a documented code with a
    message (dashscope.md 2.2).
    """
    code = text_of(body, "code")
    if not code or code.isdigit():
        return False
    return bool(text_of(body, "request_id") or (is_documented(code) and text_of(body, "message")))


def refusal(answer: httpx.Response, body: Mapping[str, Any]) -> GatewayError:
    """Return what *answer*, which brings no success, means to the client."""
    error = fault(
        code_of(body, "code"),
        text_of(body, "message"),
        request_id=request_id_of(answer, body),
        # A 2xx says nothing of whose fault it is: an unlisted code is then upstream's own.
        http_status=None if answer.is_success else answer.status_code,
    )
    if error.retry and (pause := _pause(answer)) is not None:
        error.retry_after = pause
    return error


def _pause(answer: httpx.Response) -> float | None:
    # Not documented; the vendor's own SDK honours both (dashscope.md 2.2).
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        said = answer.headers.get(name, "")
        if said.isdecimal():
            return min(float(said) / per_second, _LONGEST_PAUSE)
    return None
