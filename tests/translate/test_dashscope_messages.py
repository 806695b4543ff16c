import json
from typing import Any

from gateway.domain.edit import Edit, Part, Picture, Size
from gateway.translate.dashscope_request import submit_body
from tests.models import MODELS

PNG = Picture(content=b"\x89PNG..", media_type="image/png")


def sent(edit: Edit, part: Part, *pictures: Picture) -> Any:
    body = submit_body(MODELS[edit.model], edit, part, pictures)
    whole = b"".join(body.pieces())
    assert body.length == len(whole)
    return json.loads(whole)


def test_one_message_says_it_all() -> None:
    """The text comes first, then the pictures in order; the negative prompt is a parameter."""
    edit = Edit(
        model="wan2.6-image",
        prompt='"a"\n猫',
        negative_prompt="blur",
        size=Size(1024, 768),
        watermark=False,
    )
    url = Picture(url="https://a.b/c.png?x=1&y=%3D")

    body = sent(edit, Part(index=0, n=2, seed=9), url, PNG)

    assert body == {
        "model": "wan2.6-image",
        "input": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"text": '"a"\n猫'},
                        {"image": url.url},
                        {"image": "data:image/png;base64,iVBORy4u"},
                    ],
                }
            ]
        },
        "parameters": {
            "n": 2,
            "size": "1024*768",
            "seed": 9,
            "watermark": False,
            "negative_prompt": "blur",
        },
    }


def test_only_what_was_asked_for_is_sent() -> None:
    """A generation is one text; n always goes, since DashScope's default is 4."""
    body = sent(Edit(model="wan2.6-t2i", prompt="a cat"), Part(index=0, n=1))

    assert body == {
        "model": "wan2.6-t2i",
        "input": {"messages": [{"role": "user", "content": [{"text": "a cat"}]}]},
        "parameters": {"n": 1},
    }
