"""GatewayError → OpenAI's error body, and the headers that steer the client's SDK."""

import math

import orjson

from gateway.domain.errors import MOST_RETRY_SECONDS, GatewayError, InternalError


def error_body(error: GatewayError, request_id: str) -> bytes:
    """Return ``{"error": {...}}`` as JSON; see error_object."""
    return orjson.dumps({"error": error_object(error, request_id)})


def error_object(error: GatewayError, request_id: str) -> dict[str, str | None]:
    """
    Return the inner object of OpenAI's envelope.

    ``message``, ``type``, ``param`` and ``code`` are always there (openai.md 4.1);
    ``edit_id`` only where the edit is known. A bug shows the request id and nothing else.
    """
    message = error.message
    if error.code == InternalError.code:
        message = (
            "The server had an error while processing your request."
            f" Quote the request id {request_id} when you ask about it."
        )
    envelope = {"message": message, "type": error.type, "param": error.param, "code": error.code}
    return envelope if error.edit_id is None else {**envelope, "edit_id": error.edit_id}


def error_headers(error: GatewayError) -> dict[str, str]:
    """
    Return ``x-should-retry`` and, where a retry makes sense, when.

    OpenAI's SDKs repeat 408, 409, 429 and each 5xx unasked, and obey ``x-should-retry``
    (openai.md 7.1). Times are capped at 60 s and never 0, which Node takes for "at once"
    and Python for "as you like".
    """
    headers = {"x-should-retry": "true" if error.retry else "false"}
    if error.retry and error.retry_after is not None:
        seconds = min(max(error.retry_after, 0.001), MOST_RETRY_SECONDS)
        headers["retry-after"] = str(math.ceil(seconds))
        headers["retry-after-ms"] = str(math.ceil(round(seconds * 1000, 3)))
    return headers
