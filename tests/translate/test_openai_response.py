import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.edit import AnswerForm, ResponseFormat, Size
from gateway.translate.base64_slices import SLICE
from gateway.translate.openai_response import (
    answer_length,
    answer_pieces,
    model_answer,
    models_answer,
    running_answer,
    url_answer,
)

PNG = AnswerForm()


@given(
    created=st.integers(0, 2**40),
    pictures=st.lists(st.binary(max_size=200), min_size=1, max_size=10),
    form=st.builds(AnswerForm, output_format=st.sampled_from(["png", "jpeg", "webp"])),
    size=st.none() | st.builds(Size, st.integers(1, 9999), st.integers(1, 9999)),
)
def test_the_pieces_are_the_answer(
    created: int, pictures: list[bytes], form: AnswerForm, size: Size | None
) -> None:
    """The pieces joined are OpenAI's JSON, of exactly the length told before."""
    whole = b"".join(answer_pieces(created, pictures, form, size))

    expected: dict[str, object] = {
        "created": created,
        "data": [{"b64_json": base64.b64encode(picture).decode()} for picture in pictures],
        "output_format": form.output_format,
    }
    if size is not None:
        expected["size"] = f"{size.width}x{size.height}"
    assert json.loads(whole) == expected
    assert len(whole) == answer_length(created, [len(p) for p in pictures], form, size)


@pytest.mark.parametrize(
    "length",
    [
        pytest.param(SLICE - 1, id="one short"),
        pytest.param(SLICE, id="one slice"),
        pytest.param(SLICE + 1, id="one over"),
        pytest.param(3 * SLICE + 2, id="several"),
    ],
)
def test_slices_join_without_a_seam(length: int) -> None:
    """A picture of any length comes back byte for byte, in pieces of 256 KiB at most."""
    picture = bytes(n % 251 for n in range(length))

    pieces = list(answer_pieces(1, [memoryview(picture)], PNG))

    assert base64.b64decode(json.loads(b"".join(pieces))["data"][0]["b64_json"]) == picture
    assert max(map(len, pieces)) <= 256 * 1024


def test_urls_never_stand_beside_pictures() -> None:
    """An answer of URLs has no b64_json, and no usage breaks a client."""
    form = AnswerForm(response_format=ResponseFormat.URL)

    assert json.loads(url_answer(7, ["https://a/1?s=%2B", "https://a/2"], form)) == {
        "created": 7,
        "data": [{"url": "https://a/1?s=%2B"}, {"url": "https://a/2"}],
        "output_format": "png",
    }


def test_an_edit_that_runs() -> None:
    """The 202 of a running edit names it and its state."""
    assert json.loads(running_answer(edit_id="e", status="running", created=7)) == {
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
