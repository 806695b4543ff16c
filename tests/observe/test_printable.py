import json

import pytest

from gateway.observe.printable import printable, printable_json, printable_lines

HOSTILE = "a\x1b[31m\x9b2J\x07\x00\x7f\r\n\tz\u202eb\u2028"


def test_nothing_steers_a_terminal() -> None:
    """Controls of both sets, ends of lines and changes of direction are written as escapes."""
    assert printable(HOSTILE) == ("a\\x1b[31m\\x9b2J\\x07\\x00\\x7f\\x0d\\x0a\\x09z\\u202eb\\u2028")


def test_lines_stay_lines() -> None:
    """A text of several lines keeps them, and its tabs."""
    assert printable_lines("a\n\tb\x1b") == "a\n\tb\\x1b"


@pytest.mark.parametrize("text", ["", "plain", "中文 é ñ 🎨", "a\u00a0b"])
def test_what_people_write_stays(text: str) -> None:
    """Every script is shown as it is."""
    assert printable(text) == text


def test_json_stays_the_same_json() -> None:
    """In JSON the escapes are JSON's own."""
    raw = json.dumps({"a": HOSTILE}, ensure_ascii=False)

    shown = printable_json(raw)

    assert json.loads(shown) == {"a": HOSTILE}
    assert shown.isprintable()
