import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.edit import Edit, Part, Picture, Size
from gateway.domain.task import TaskStatus
from gateway.translate.base64_slices import SLICE, encoded, encoded_length
from gateway.translate.dashscope_request import list_query, submit_body

PNG = Picture(content=b"\x89PNG..", media_type="image/png")
MODEL = "wan2.5-i2i-preview"


def sent(edit: Edit, part: Part, *pictures: Picture) -> Any:
    body = submit_body(edit, part, pictures)
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


def test_a_big_picture_is_never_held_twice() -> None:
    """Pieces stay at 256 KiB, however big the picture is."""
    big = Picture(content=bytes(3 * SLICE + 1), media_type="image/png")

    pieces = list(submit_body(Edit(model=MODEL, prompt="p"), Part(0, 1), [big]).pieces())

    assert max(map(len, pieces)) == SLICE // 3 * 4 == 256 * 1024


@given(content=st.binary(max_size=64))
def test_length_is_known_before_encoding(content: bytes) -> None:
    """The encoded length follows from the length alone."""
    assert len(b"".join(encoded(content))) == encoded_length(len(content))


def test_the_body_keeps_its_content_to_itself() -> None:
    """Neither prompt nor picture shows in the repr of a body."""
    body = submit_body(Edit(model=MODEL, prompt="secret"), Part(0, 1), [PNG])

    assert "secret" not in repr(body)
    assert "PNG" not in repr(body)


@pytest.mark.parametrize(
    ("since", "until", "start", "end"),
    [
        pytest.param(0, 1, "19700101080000", "19700101080001", id="Beijing is 8 h ahead"),
        pytest.param(
            1758636850.8, 1758636923.2, "20250923221410", "20250923221524", id="widened, not cut"
        ),
    ],
)
def test_the_window_of_a_list(since: float, until: float, start: str, end: str) -> None:
    """Times go as Beijing's YYYYMMDDhhmmss, rounded outwards."""
    query = list_query(since, until, None, 2, 100)

    assert query == {"start_time": start, "end_time": end, "page_no": "2", "page_size": "100"}


def test_a_list_may_ask_for_one_status() -> None:
    """The status is sent in DashScope's word, and only if asked for."""
    assert list_query(0, 1, TaskStatus.PENDING, 1, 10)["status"] == "PENDING"
