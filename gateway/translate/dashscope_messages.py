"""Edit → the submit of DashScope's newer family: one message of a text and pictures."""

from collections.abc import Iterator, Sequence

import orjson

from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.models import MODELS, Family
from gateway.translate.dashscope_request import SubmitBody, around, parameters_of


def messages_body(edit: Edit, part: Part, pictures: Sequence[Picture]) -> SubmitBody:
    """
    Translate the *part* of *edit*.

    Returns:
        ``{"model": str, "input": {"messages": [{"role": "user", "content": [{"text": str},
        {"image": data URI or URL}, ...]}]}, "parameters": {...}}``, the text last for a model
        that answers without a task. The parameters are the older family's, and
        ``negative_prompt``.

    Source: Alibaba Model Studio, "Wan2.6 - image generation and editing" and "Qwen - image
    editing"; dashscope.md 9.
    """
    return around(_pieces(edit, part, pictures))


def _pieces(edit: Edit, part: Part, pictures: Sequence[Picture]) -> Iterator[bytes | Picture]:
    yield b'{"model":%b,"input":{"messages":[{"role":"user","content":[' % orjson.dumps(edit.model)
    text: tuple[bytes | Picture, ...] = (b'{"text":', orjson.dumps(edit.prompt), b"}")
    entries = [(b'{"image":', picture, b"}") for picture in pictures]
    # As each family's documents have it: Wan's with the text first, Qwen's with the text last.
    last = MODELS[edit.model].family is Family.SYNCHRONOUS
    for place, entry in enumerate([*entries, text] if last else [text, *entries]):
        yield b"," if place else b""
        yield from entry
    parameters = parameters_of(edit, part)
    if edit.negative_prompt is not None:
        parameters["negative_prompt"] = edit.negative_prompt
    yield b']}]},"parameters":%b}' % orjson.dumps(parameters)
