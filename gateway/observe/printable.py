"""Text for a terminal, without what could steer it."""

_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
"""C0 with ESC, DEL, and C1: in UTF-8 a terminal may take U+009B for ESC [."""
_UNSEEN = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
"""Ends of lines and changes of direction, by which a text can pretend to be another."""
_LINES = "\n\t"


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_ESCAPES = {code: _escape(code) for code in (*_CONTROLS, *_UNSEEN)}
_ESCAPES_OF_LINES = {code: it for code, it in _ESCAPES.items() if chr(code) not in _LINES}
_IN_JSON = {code: f"\\u{code:04x}" for code in (*_CONTROLS, *_UNSEEN)}


def printable(text: str) -> str:
    """Return *text* with every control character written as an escape."""
    return text.translate(_ESCAPES)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, such as a traceback."""
    return text.translate(_ESCAPES_OF_LINES)


def printable_json(text: str) -> str:
    """The same for JSON without indentation, which stays the same JSON."""
    return text.translate(_IN_JSON)
