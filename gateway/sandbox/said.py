"""The prompt and the pictures of a submit's input, in either form (sections 1.3 and 9)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.sandbox.answers import Refusal
from gateway.sandbox.models import Form

_ONE_MESSAGE = "messages length only support 1"


@dataclass(frozen=True, slots=True)
class Said:
    """What the input says; *images* is None where the field itself is missing."""

    prompt: str = field(repr=False)
    negative_prompt: str = field(repr=False)
    images: tuple[str, ...] | None


def read_said(form: Form, entry: Mapping[str, Any], parameters: Mapping[str, Any]) -> Said:
    """
    Read the input of a body.

    Raises:
        Refusal: 400 for a part of it that has the wrong type.
    """
    if form == "messages":
        texts, images = _content(entry)
        return Said(texts[0], text_of_field(parameters, "negative_prompt"), images)
    prompt, negative = (text_of_field(entry, name) for name in ("prompt", "negative_prompt"))
    given = entry.get("images")
    if given is None:
        return Said(prompt, negative, None)
    if not isinstance(given, list) or not all(isinstance(image, str) for image in given):
        raise undefined("images")
    return Said(prompt, negative, tuple(given))


def prompt_of(form: Form, entry: Mapping[str, Any]) -> str:
    """Return the prompt of a body that may be wrong elsewhere, empty if it is wrong itself."""
    alone = {name: entry[name] for name in ("prompt", "messages") if name in entry}
    try:
        return read_said(form, alone, {}).prompt
    except Refusal:
        return ""


def text_of_field(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise undefined(name)
    return value


def invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidParameter", message)


def undefined(name: str) -> Refusal:
    return invalid(f"The type or value of {name} is out of definition.")


def _content(entry: Mapping[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    messages = entry.get("messages")
    if not messages:
        raise invalid("No messages found in input")
    match messages:
        case [{"role": "user", "content": [*content]}]:
            texts = [one["text"] for one in content if isinstance(one, dict) and "text" in one]
            images = [one["image"] for one in content if isinstance(one, dict) and "image" in one]
        case [_]:
            raise undefined("messages")
        case _:
            raise invalid(_ONE_MESSAGE)
    if len(texts) != 1 or len(texts) + len(images) != len(content):
        raise invalid("lack of image or text")
    if not all(isinstance(said, str) for said in (*texts, *images)):
        raise undefined("content")
    return texts, tuple(images)
