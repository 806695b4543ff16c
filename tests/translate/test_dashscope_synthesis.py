import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.edit import Edit, Part, Picture, Size
from gateway.translate.dashscope_request import submit_body
from tests.models import MODELS

PNG = Picture(content=b"\x89PNG..", media_type="image/png")
MODEL = "wan2.5-i2i-preview"


def sent(edit: Edit, part: Part, *pictures: Picture) -> Any:
    body = submit_body(MODELS[edit.model], edit, part, pictures)
    whole = b"".join(body.pieces())
    assert body.length == len(whole)
    assert whole == b"".join(body.pieces()), "it can be sent again"
    return json.loads(whole)


def test_only_what_was_asked_for_is_sent() -> None:
    """A plain edit sends model, prompt, images and n; n always, since DashScope's default is 4."""
    body = sent(Edit(model=MODEL, prompt="a cat"), Part(index=0, n=1), PNG)

    assert body == {
        "model": MODEL,
        "input": {"prompt": "a cat", "images": ["data:image/png;base64,iVBORy4u"]},
        "parameters": {"n": 1},
    }


def test_all_that_was_asked_for_is_sent() -> None:
    """Size goes with an asterisk, the seed is the part's, order of pictures is kept."""
    edit = Edit(
        model=MODEL,
        prompt='"quoted"\n\\ 猫',
        n=6,
        negative_prompt="blur",
        size=Size(1024, 768),
        seed=5,
        watermark=False,
        prompt_extend=True,
    )
    url = Picture(url="https://a.b/c.png?x=1&y=%3D")

    body = sent(edit, Part(index=1, n=2, seed=9), url, PNG, url)

    assert body == {
        "model": MODEL,
        "input": {
            "prompt": '"quoted"\n\\ 猫',
            "images": [url.url, "data:image/png;base64,iVBORy4u", url.url],
            "negative_prompt": "blur",
        },
        "parameters": {
            "n": 2,
            "size": "1024*768",
            "seed": 9,
            "watermark": False,
            "prompt_extend": True,
        },
    }


PICTURES = st.one_of(
    st.builds(
        Picture, content=st.binary(min_size=1, max_size=999), media_type=st.just("image/png")
    ),
    st.builds(Picture, url=st.text(min_size=1).map(lambda path: f"https://a.b/{path}")),
)


@given(
    prompt=st.text(),
    negative=st.none() | st.text(),
    seed=st.none() | st.integers(0, 2**31 - 1),
    pictures=st.lists(PICTURES, min_size=1, max_size=3),
)
def test_any_edit_is_json(
    prompt: str, negative: str | None, seed: int | None, pictures: list[Picture]
) -> None:
    """Whatever the texts and pictures are, the pieces joined are the documented JSON."""
    edit = Edit(model=MODEL, prompt=prompt, negative_prompt=negative, seed=seed)

    body = sent(edit, Part(index=0, n=1, seed=seed), *pictures)

    assert body["input"]["prompt"] == prompt
    assert body["input"].get("negative_prompt") == negative
    assert body["parameters"].get("seed") == seed
    assert len(body["input"]["images"]) == len(pictures)


def test_a_generation_has_no_images() -> None:
    """Without pictures the field is left out, as DashScope's text-to-image page has it."""
    edit = Edit(model="wan2.5-t2i-preview", prompt="a cat", size=Size(1280, 1280))

    body = sent(edit, Part(index=0, n=1))

    assert body == {
        "model": "wan2.5-t2i-preview",
        "input": {"prompt": "a cat"},
        "parameters": {"n": 1, "size": "1280*1280"},
    }
