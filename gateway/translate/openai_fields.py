"""Each plain field of a request: how its text is read and what is refused. One table."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from gateway.domain.edit import ResponseFormat, Size
from gateway.domain.errors import InvalidRequest
from gateway.domain.models import Operation

Reader = Callable[[str, str], object]
"""From the field's name and text to its value; raises InvalidRequest."""


def too_long(name: str, most: int, length: int) -> InvalidRequest:
    """Return OpenAI's refusal of a text that is too long."""
    return InvalidRequest(
        f"Invalid '{name}': string too long. Expected a string with maximum length {most},"
        f" but got a string with length {length} instead.",
        param=name,
        code="string_above_max_length",
    )


def too_many_tokens(name: str, most: int, tokens: int) -> InvalidRequest:
    """Return the same of a text whose limit is in tokens, which are estimated."""
    return InvalidRequest(
        f"Invalid '{name}': string too long. Expected a string of at most {most} tokens, but got"
        f" one of about {tokens}.",
        param=name,
        code="string_above_max_length",
    )


def shown(text: str) -> str:
    """Return the client's own text, short and on one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= 64 else line[:64] + "…"


def _text(_: str, text: str) -> str:
    # Node's FormData turns \n into \r\n: equal prompts must stay equal.
    return text.replace("\r\n", "\n")


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """Reads a whole number."""

    least: int
    most: int
    remedy: str = ""
    """What to do instead, after the range."""

    def __call__(self, name: str, text: str) -> int:
        # Some clients send 2.0 for 2.
        match = re.fullmatch(r"\s*([+-]?\d{1,18})(?:\.0*)?\s*", text, re.ASCII)
        if match is None or not self.least <= int(match[1]) <= self.most:
            expected = f"a whole number from {self.least} to {self.most}{self.remedy}"
            raise _invalid(name, text, expected)
        return int(match[1])


def truth(name: str, text: str) -> bool:
    match text.strip().casefold():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise _invalid(name, text, "true or false")


@dataclass(frozen=True, slots=True)
class OneOf:
    """Reads one of several words."""

    choices: tuple[str, ...]
    instead: str = ""
    """What the error calls them; empty: one by one."""

    def __call__(self, name: str, text: str) -> str:
        choice = text.strip().casefold()
        if choice not in self.choices:
            expected = self.instead or " or ".join(f"'{it}'" for it in self.choices)
            raise _invalid(name, text, expected)
        return choice


def _size(name: str, text: str) -> Size | None:
    """Read OpenAI's ``WxH`` or DashScope's ``W*H``; ``auto`` is None."""
    if text.strip().casefold() == "auto":
        return None
    match = re.fullmatch(r"\s*(\d{1,5})[xX*](\d{1,5})\s*", text, re.ASCII)
    if match is None or not int(match[1]) or not int(match[2]):
        raise _invalid(name, text, "WIDTHxHEIGHT in pixels, such as 1024x1024, or 'auto'")
    return Size(int(match[1]), int(match[2]))


def _response_format(name: str, text: str) -> ResponseFormat:
    try:
        return ResponseFormat(text.strip().casefold())
    except ValueError:
        raise _invalid(name, text, "'b64_json' or 'url'") from None


def wanted_format(text: str) -> ResponseFormat | None:
    """
    Return the ``response_format`` in the query of a GET; ``None`` where it is empty.

    Raises:
        InvalidRequest: it is neither of the two.
    """
    return _response_format("response_format", text) if text.strip() else None


def _as_sent(_: str, text: str) -> str:
    return text.strip()


@dataclass(frozen=True, slots=True)
class JsonValue:
    """Reads JSON of a shape of its own; returns it as canonical JSON text."""

    fits: Callable[[object], bool]
    expected: str

    def __call__(self, name: str, text: str) -> str:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = None
        if not self.fits(value):
            raise _invalid(name, text, self.expected)
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


_MOST_BOXES = 2
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_SHARE = re.compile(r"(\d{1,3})\.(\d{2})%", re.ASCII)
_WHOLE_SHARE = 100_00


def _are_boxes(value: object) -> bool:
    """Say whether it is a list for each picture, of up to two boxes in pixels."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(boxes, list) and len(boxes) <= _MOST_BOXES for boxes in value)
        and all(_is_box(box) for boxes in value for box in boxes)
    )


def _is_box(box: object) -> bool:
    match box:
        case [int(left), int(top), int(right), int(bottom)]:
            return 0 <= left < right and 0 <= top < bottom
        case _:
            return False


def _are_colours(value: object) -> bool:
    """Say whether it is 3 to 10 colours, each with its share, which add up to 100.00 %."""
    if not isinstance(value, list) or not 3 <= len(value) <= 10:
        return False
    return sum(map(_share_of, value)) == _WHOLE_SHARE


def _share_of(colour: object) -> int:
    """Return the share of one colour in hundredths of a percent; what is wrong spoils the sum."""
    match colour:
        case {"hex": str(code), "ratio": str(ratio), **others} if not others:
            share = _SHARE.fullmatch(ratio)
            if share is not None and _COLOUR.fullmatch(code):
                return int(share[1] + share[2])
    return -_WHOLE_SHARE


def members(_: str, __: str) -> None:
    """Read a member of an object, such as ``svg[model]``: the object as a whole has no effect."""


def _invalid(name: str, text: str, expected: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{name}': '{shown(text)}'. Expected {expected}.", param=name
    )


OUTPUT_FORMATS = ("png", "jpeg", "webp")

_OF_BOTH: Mapping[str, Reader] = {
    # OpenAI's (openai.md 2.1, 5.3)
    "prompt": _text,
    "model": _as_sent,
    "n": WholeNumber(least=1, most=10),
    "size": _size,
    "response_format": _response_format,
    "output_format": OneOf(
        OUTPUT_FORMATS,
        instead="'png', 'jpeg' or 'webp': an animation or a vector drawing cannot be made here",
    ),
    "output_compression": WholeNumber(least=0, most=100),
    "background": OneOf(("auto", "opaque", "transparent")),
    "stream": truth,
    "partial_images": WholeNumber(least=0, most=3),
    "quality": _as_sent,
    "complexity": OneOf(("low", "medium", "high")),
    "frame_count": WholeNumber(least=2, most=16),
    "frame_duration_ms": WholeNumber(least=20, most=655_350),
    "svg": members,
    "moderation": _as_sent,
    "user": _as_sent,
    "safety_identifier": _as_sent,
    # DashScope's own (dashscope.md 1.3)
    "negative_prompt": _text,
    "seed": WholeNumber(least=0, most=2**31 - 1, remedy="; leave it out for a random one"),
    "watermark": truth,
    "prompt_extend": truth,
    "prompt_extend_mode": OneOf(("direct", "agent")),
    "enable_thinking": truth,
    "thinking_mode": truth,
    "bbox_list": JsonValue(
        _are_boxes,
        "a list for each picture, empty or of one or two boxes such as [[[0, 0, 100, 50]], []]",
    ),
    "color_palette": JsonValue(
        _are_colours,
        'three to ten of {"hex": "#C2D1E6", "ratio": "23.51%"}, whose ratios add up to 100.00%',
    ),
}
FIELDS: Mapping[Operation, Mapping[str, Reader]] = {
    Operation.EDIT: {**_OF_BOTH, "input_fidelity": _as_sent},
    Operation.GENERATE: {**_OF_BOTH, "style": _as_sent},
}

JSON_VALUED = frozenset(name for name, read in _OF_BOTH.items() if isinstance(read, JsonValue))
"""Fields whose value is a list or an object, which is kept whole."""

OBJECTS = frozenset({"svg"})
"""Fields whose value is an object; in a form its members are fields: ``svg[reasoning][effort]``."""

OPTIONS = (
    "prompt_extend_mode",
    "enable_thinking",
    "thinking_mode",
    "bbox_list",
    "color_palette",
)
"""Parameters of some of DashScope's models; edits carry them as they are."""

DASHSCOPES = ("negative_prompt", "seed", "watermark", "prompt_extend", *OPTIONS)
"""DashScope's own parameters; not every model has each of them."""

NAMES = frozenset(name for readers in FIELDS.values() for name in readers)

WITHOUT_EFFECT = frozenset(
    {
        "background",
        "complexity",
        "frame_count",  # of a gif, which cannot be made here
        "frame_duration_ms",
        "input_fidelity",
        "moderation",
        "output_compression",  # of a png, which is lossless
        "partial_images",  # DashScope has none
        "quality",
        "safety_identifier",
        "style",
        "svg",
        "user",
    }
)
"""Accepted and listed in ``x-wan-ignored-params``."""
