import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.edit import OutputOptions, Size
from gateway.domain.models import Operation
from gateway.translate.openai_response import (
    answer_frames,
    model_answer,
    models_answer,
    running_answer,
    url_answer,
)

PNG = OutputOptions()


@given(
    created=st.integers(0, 2**40),
    pictures=st.lists(st.binary(max_size=200), min_size=1, max_size=10),
    form=st.builds(OutputOptions, output_format=st.sampled_from(["png", "jpeg", "webp"])),
    size=st.none() | st.builds(Size, st.integers(1, 9999), st.integers(1, 9999)),
    prompt=st.none() | st.text(),
)
def test_the_frames_make_the_answer(
    created: int, pictures: list[bytes], form: OutputOptions, size: Size | None, prompt: str | None
) -> None:
    """With the pictures between them the frames are OpenAI's JSON."""
    prompts = [] if prompt is None else [prompt] * len(pictures)
    whole, *frames = answer_frames(created, len(pictures), form, size, prompts)
    for picture, frame in zip(pictures, frames, strict=True):
        whole += base64.b64encode(picture) + frame

    expected: dict[str, object] = {
        "created": created,
        "data": [
            {"b64_json": base64.b64encode(picture).decode()}
            | ({"revised_prompt": prompt} if prompt else {})
            for picture in pictures
        ],
        "output_format": form.output_format,
    }
    if size is not None:
        expected["size"] = f"{size.width}x{size.height}"
    assert json.loads(whole) == expected


def test_urls_with_the_prompts_they_were_made_by() -> None:
    """Where DashScope tells what it made of the prompt, that stands beside its URL."""
    answer = json.loads(url_answer(7, ["https://a/1.png", "https://a/2.png"], ["A cat.", ""]))

    assert answer["data"] == [
        {"url": "https://a/1.png", "revised_prompt": "A cat."},
        {"url": "https://a/2.png"},
    ]


def test_urls_never_stand_beside_pictures() -> None:
    """An answer of URLs has no b64_json, and no usage breaks a client."""
    assert json.loads(url_answer(7, ["https://a/1.png?s=%2B", "https://a/2.png"])) == {
        "created": 7,
        "data": [{"url": "https://a/1.png?s=%2B"}, {"url": "https://a/2.png"}],
        "output_format": "png",
    }


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        pytest.param(["https://a/1.PNG?x=a.jpg"], "png", id="png"),
        pytest.param(["https://a/1.jpg", "https://a/2.jpeg#x"], "jpeg", id="jpeg"),
        pytest.param(["https://a/1.webp"], "webp", id="webp"),
        pytest.param(["https://a/1.png", "https://a/2.jpg"], None, id="of several kinds"),
        pytest.param(["https://a.png/1"], None, id="no ending"),
        pytest.param(["https://a/1.bin"], None, id="unknown"),
    ],
)
def test_the_form_behind_urls_is_told_by_their_names(urls: list[str], expected: str | None) -> None:
    """What is not known is not claimed: nobody has looked at the bytes."""
    assert json.loads(url_answer(7, urls)).get("output_format") == expected


def test_an_edit_that_runs() -> None:
    """The 202 of a running edit names it and its state."""
    assert json.loads(running_answer("e", Operation.EDIT, status="running", created=7)) == {
        "id": "e",
        "object": "image.edit",
        "status": "running",
        "created": 7,
    }


def test_models() -> None:
    """The list holds model objects, and one model alone is such an object."""
    one = {"id": "gpt-image-2", "object": "model", "created": 7, "owned_by": "wan-gateway"}

    assert json.loads(model_answer("gpt-image-2", created=7)) == one
    assert json.loads(models_answer(["gpt-image-2"], created=7)) == {
        "object": "list",
        "data": [one],
    }
