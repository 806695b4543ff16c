"""Edit → the submit of DashScope's older family: one prompt, a list of pictures or none."""

from collections.abc import Iterator, Sequence

import orjson

from gateway.domain.edit import Edit, Part, Picture
from gateway.translate.dashscope_request import SubmitBody, around, parameters_of


def synthesis_body(edit: Edit, part: Part, pictures: Sequence[Picture]) -> SubmitBody:
    """
    Translate the *part* of *edit*.

    Returns:
        ``{"model": str, "input": {"prompt": str, "images": [data URI or URL, ...],
        "negative_prompt": str}, "parameters": {"n": int, "size": "W*H", "seed": int,
        "watermark": bool, "prompt_extend": bool}}``. ``n`` is always there, since
        DashScope's default is 4 and billed; all that the client left out is left out,
        and ``images`` where a generation has none.

    Source: Alibaba Model Studio, "Wan2.5 - general image editing", dashscope.md 1.3, and
    "Wan text-to-image V2", docs/models.md.
    """
    return around(_pieces(edit, part, pictures))


def _pieces(edit: Edit, part: Part, pictures: Sequence[Picture]) -> Iterator[bytes | Picture]:
    model = orjson.dumps(edit.model)
    prompt = orjson.dumps(edit.prompt)
    yield b'{"model":%b,"input":{"prompt":%b' % (model, prompt)
    for nth, picture in enumerate(pictures):
        yield b"," if nth else b',"images":['
        yield picture
    if pictures:
        yield b"]"
    if edit.negative_prompt is not None:
        yield b',"negative_prompt":' + orjson.dumps(edit.negative_prompt)
    yield b'},"parameters":%b}' % orjson.dumps(parameters_of(edit, part))
