import httpx
import pytest

from gateway.upstream.submission import body_of, refusal, request_id_of


@pytest.mark.parametrize(
    ("content", "body"),
    [
        pytest.param(b'{"a":1}', {"a": 1}, id="object"),
        pytest.param(b"[1]", {}, id="list"),
        pytest.param(b"<html>", {}, id="page"),
        pytest.param(b"", {}, id="empty"),
        pytest.param(b"\xff\xfe", {}, id="no-utf8"),
    ],
)
def test_body_of(content: bytes, body: object) -> None:
    """Only a JSON object says something; the rest is as good as nothing."""
    assert body_of(httpx.Response(502, content=content)) == body


@pytest.mark.parametrize(
    ("body", "request_id"),
    [
        pytest.param({"request_id": "r-body"}, "r-body", id="body"),
        pytest.param({}, "r-head", id="header"),
    ],
)
def test_request_id(body: dict[str, str], request_id: str) -> None:
    """The body's request id comes before the header's."""
    answer = httpx.Response(400, headers={"x-request-id": "r-head"})

    assert request_id_of(answer, body) == request_id


@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [
        pytest.param(429, {"retry-after": "7"}, 7, id="seconds"),
        pytest.param(429, {"retry-after-ms": "1500", "retry-after": "7"}, 1.5, id="ms-first"),
        pytest.param(429, {"retry-after": "3600"}, 60, id="at-most-a-minute"),
        pytest.param(429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, id="date"),
        pytest.param(429, {}, None, id="none"),
        pytest.param(400, {"retry-after": "7"}, None, id="not-to-be-retried"),
    ],
)
def test_pause(status: int, headers: dict[str, str], pause: float | None) -> None:
    """Upstream's own wish for a pause is kept where a repeat makes sense."""
    assert refusal(httpx.Response(status, headers=headers), {}).retry_after == pause
