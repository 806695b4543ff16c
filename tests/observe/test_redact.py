import json
import time

import orjson
import pytest

from gateway.observe.redact import (
    printable,
    printable_json,
    printable_lines,
    redact,
    redacted,
)

_CANARY = "canary0123456789"
_HOSTILE = "a\x1b[31m\x9b2J\x07\x00\x7f\r\n\tz\u202eb\u2028"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"key sk-{_CANARY}", id="upstream-key"),
        pytest.param(f"key sk-ws-{_CANARY}", id="workspace-key"),
        pytest.param(f"key wk-{_CANARY} refused", id="client-key"),
        pytest.param(f"authorization: Bearer {_CANARY}", id="bearer"),
        pytest.param(f"bearer {_CANARY}", id="bearer-alone"),
        pytest.param(f"{{'api-key': '{_CANARY}'}}", id="api-key-header"),
        pytest.param(f"(b'Authorization', b'{_CANARY}')".replace("', b", ": b"), id="raw-header"),
        pytest.param(f"GET https://a.test/x?Expires=1&Signature={_CANARY}%3D", id="signature"),
        pytest.param(f"https://a.test/x?OSSAccessKeyId={_CANARY}&b=1", id="access-key-id"),
        pytest.param(f"id LTAI{_CANARY}", id="access-key"),
        pytest.param(f"data:image/png;base64,{_CANARY}/+==", id="picture"),
    ],
)
def test_secret_texts(text: str) -> None:
    """Keys, signatures and pictures are taken out of any text."""
    assert _CANARY not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("data:" * 10_000, id="data"),
        pytest.param("data:" + ";a" * 25_000, id="data-parameters"),
        pytest.param("authorization" + " " * 50_000, id="spaces"),
        pytest.param("Bearer " * 7_000, id="bearers"),
        pytest.param("sk-a " * 10_000, id="keys"),
        pytest.param("api-key'" * 6_000, id="names"),
    ],
)
def test_a_long_text_takes_no_time(text: str) -> None:
    """50 kB that patterns like least are looked through in well under a second."""
    began = time.process_time()

    redacted(text)

    assert time.process_time() - began < 1.0


def test_other_texts_stay() -> None:
    """A text without a secret is returned unchanged."""
    text = "task-0385dc79 of wan2.5-i2i-preview took 42 s: disk-full, metadata: none"

    assert redacted(text) == text


def test_secret_fields_are_dropped_at_any_depth() -> None:
    """A prompt or a key does not reach the line, wherever it stands."""
    event = {
        "prompt": _CANARY,
        "X-Api-Key": _CANARY,
        "body": {"negative_prompt": _CANARY, "n": 1, "headers": [{"Authorization": _CANARY}]},
    }

    shown = redact(None, "", event)

    assert shown == {"body": {"n": 1, "headers": [{}]}}


class _SecretWhenPrinted:
    def __str__(self) -> str:
        return f"Bearer {_CANARY}"


def test_every_value_becomes_json() -> None:
    """Any value can be written as JSON, and none shows a secret."""
    deep: dict[str, object] = {}
    inner = deep
    for _ in range(10):
        inner["in"] = inner = {}
    event = {
        "none": None,
        "yes": True,
        "half": 0.5,
        "big": 2**70,
        "n": 7,
        "bytes": b"secret",
        "set": {1},
        "odd": _SecretWhenPrinted(),
        "deep": deep,
        "surrogate": "\ud800",
        5: "number",
    }

    shown = json.loads(orjson.dumps(redact(None, "", event)))  # type: ignore[arg-type]  # a key that is no text

    assert shown["bytes"] == "<6 bytes>"
    assert shown["big"] == str(2**70)
    assert shown["odd"] == "Bearer ***"
    assert shown["set"] == [1]
    assert shown["5"] == "number"
    assert shown["surrogate"] == "?"


def test_nothing_steers_a_terminal() -> None:
    """Controls of both sets, ends of lines and changes of direction are written as escapes."""
    assert printable(_HOSTILE) == (
        "a\\x1b[31m\\x9b2J\\x07\\x00\\x7f\\x0d\\x0a\\x09z\\u202eb\\u2028"
    )


def test_lines_stay_lines() -> None:
    """A text of several lines keeps them, and its tabs."""
    assert printable_lines("a\n\tb\x1b") == "a\n\tb\\x1b"


@pytest.mark.parametrize("text", ["", "plain", "中文 é ñ 🎨", "a\u00a0b"])
def test_what_people_write_stays(text: str) -> None:
    """Every script is shown as it is."""
    assert printable(text) == text


def test_json_stays_the_same_json() -> None:
    """In JSON the escapes are JSON's own."""
    raw = json.dumps({"a": _HOSTILE}, ensure_ascii=False)

    shown = printable_json(raw)

    assert json.loads(shown) == {"a": _HOSTILE}
    assert shown.isprintable()
