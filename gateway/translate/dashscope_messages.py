"""Edit → the submit of DashScope's newer family: one message of a text and pictures."""

from collections.abc import Iterator, Sequence

import orjson

from gateway.domain.edit import Edit, Part, Picture
from gateway.translate.dashscope_request import SubmitBody, around, parameters_of


def messages_body(edit: Edit, part: Part, pictures: Sequence[Picture]) -> SubmitBody:
    """
    Translate the *part* of *edit*.

    Returns:
        ``{"model": str, "input": {"messages": [{"role": "user", "content": [{"text": str},
        {"image": data URI or URL}, ...]}]}, "parameters": {...}}``. The parameters are the
        older family's, and ``negative_prompt``.

    Source: Alibaba Model Studio, "Wan2.6 - image generation and editing"; dashscope.md 9.
    """
    return around(_pieces(edit, part, pictures))


def _pieces(edit: Edit, part: Part, pictures: Sequence[Picture]) -> Iterator[bytes | Picture]:
    model, prompt = orjson.dumps(edit.model), orjson.dumps(edit.prompt)
    yield b'{"model":%b,"input":{"messages":[{"role":"user","content":[{"text":%b}' % (
        model,
        prompt,
    )
    for picture in pictures:
        yield b',{"image":'
        yield picture
        yield b"}"
    parameters = parameters_of(edit, part)
    if edit.negative_prompt is not None:
        parameters["negative_prompt"] = edit.negative_prompt
    yield b']}]},"parameters":%b}' % orjson.dumps(parameters)
