from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.edit import AnswerForm, Picture, ResponseFormat, Size
from gateway.journey.digest import digest_of, prompt_digest
from tests.fakes import an_edit

ONE = Picture(content=b"one", media_type="image/png", size=Size(1, 1))
TWO = Picture(content=b"two", media_type="image/png")
LINK = Picture(url="https://example.test/one.png")


def test_equal_content_is_equal() -> None:
    """What does not matter upstream plays no part: names, types, ignored fields."""
    first = digest_of(an_edit(ignored=("user",)), (ONE, LINK))
    second = digest_of(an_edit(), (Picture(content=b"one"), LINK))

    assert first == second
    assert len(first) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"prompt": "a blue cat"},
        {"n": 2},
        {"negative_prompt": ""},
        {"negative_prompt": "dogs"},
        {"size": Size(768, 768)},
        {"seed": 0},
        {"watermark": False},
        {"prompt_extend": False},
        {"answer": AnswerForm(ResponseFormat.URL)},
        {"answer": AnswerForm(output_format="webp")},
        {"answer": AnswerForm(compression=0)},
        {"answer": AnswerForm(scale_to=Size(512, 512))},
    ],
    ids=str,
)
def test_each_field_counts(changes: dict[str, Any]) -> None:
    """Every field that changes the picture or its form changes the digest."""
    edit = an_edit()

    assert digest_of(replace(edit, **changes), (ONE,)) != digest_of(edit, (ONE,))


@pytest.mark.parametrize(
    "pictures",
    [(), (TWO,), (ONE, TWO), (ONE, ONE), (LINK,), (Picture(url="one"),)],
    ids=["none", "other", "more", "twice", "link", "link of the same bytes"],
)
def test_each_picture_counts(pictures: tuple[Picture, ...]) -> None:
    """Other pictures are other content."""
    assert digest_of(an_edit(), pictures) != digest_of(an_edit(), (ONE,))


def test_the_mask_counts() -> None:
    """An edit with a mask, or another one, is another edit; a mask is no picture."""
    digests = {
        digest_of(an_edit(), (ONE,)),
        digest_of(an_edit(), (ONE,), b"two"),
        digest_of(an_edit(), (ONE,), b"mask"),
        digest_of(an_edit(), (ONE, TWO)),
    }

    assert len(digests) == 4


def test_order_counts() -> None:
    """The same pictures in another order are another edit."""
    assert digest_of(an_edit(), (ONE, TWO)) != digest_of(an_edit(), (TWO, ONE))


def test_values_do_not_run_together() -> None:
    """A text that moves from one field to the next is another content."""
    first = an_edit("ab", negative_prompt="c")
    second = an_edit("a", negative_prompt="bc")

    assert digest_of(first, ()) != digest_of(second, ())


def test_prompt_digest_is_blind_to_edges() -> None:
    """DashScope may trim a prompt: spaces around it play no part."""
    assert prompt_digest(" a cat\n") == prompt_digest("a cat")
    assert prompt_digest("a cat") != prompt_digest("a Cat")
