import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.edit import Edit, OutputOptions, ResponseFormat, Size
from gateway.domain.models import Operation
from gateway.edits.digest import (
    comparable,
    digest_of,
    first_digest,
    mark_in_turns,
    mark_of,
    prompt_digest,
)
from tests.fakes import an_edit

ONE, TWO, LINK = mark_of(b"one"), mark_of(b"two"), mark_of(b"", "https://example.test/one.png")
NONE: Mapping[str, bytes] = {}


def digest(
    edit: Edit,
    pictures: Sequence[bytes] = (),
    others: Mapping[str, bytes] = NONE,
    operation: Operation = Operation.EDIT,
) -> str:
    return digest_of(edit, operation, pictures, others)


@pytest.mark.anyio
@pytest.mark.parametrize(("size", "slices"), [(2**22, 0), (2**22 + 1, 2), (2**24, 4)])
async def test_a_large_picture_is_marked_in_turns(size: int, slices: int) -> None:
    """No picture holds the loop for longer than a slice takes, and its mark is the same."""
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    task = asyncio.get_running_loop().create_task(others())
    mark = await mark_in_turns(content)
    task.cancel()

    assert mark == mark_of(content)
    assert len(turns) == slices


@pytest.mark.anyio
async def test_an_url_is_marked_by_its_text() -> None:
    """A picture that is a URL is its URL."""
    assert await mark_in_turns(b"", "https://example.test/one.png") == LINK


def test_equal_content_is_equal() -> None:
    """What does not matter upstream plays no part, nor what a config makes of a name or a size."""
    requested = OutputOptions(scale_to=Size(512, 512))
    first = digest(an_edit(size=Size(512, 512)), [ONE, LINK])
    second = digest(
        an_edit(
            ignored=("user",), adjusted=("1:x",), model="x", size=Size(768, 768), output=requested
        ),
        [ONE, LINK],
    )

    assert first == second
    assert len(first) == 66


def test_it_stays_what_it_is() -> None:
    """The digest of a content is the same in every version and on every machine."""
    edit = an_edit(n=2, size=Size(768, 768), model_asked="gpt-image-1")

    assert digest(edit, [ONE, LINK], {"mask": TWO}) == (
        "2:bd049224975d578c56989a5077d145c8af6936e02db00662ef8617991fdc095d"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"model_asked": "other"},
        {"prompt": "a blue cat"},
        {"n": 2},
        {"negative_prompt": ""},
        {"negative_prompt": "dogs"},
        {"size": Size(768, 768)},
        {"seed": 0},
        {"watermark": False},
        {"prompt_extend": False},
        {"output": OutputOptions(ResponseFormat.URL)},
        {"output": OutputOptions(output_format="webp")},
        {"output": OutputOptions(compression=0)},
        {"output": OutputOptions(scale_to=Size(512, 512))},
    ],
    ids=str,
)
def test_each_field_counts(changes: dict[str, Any]) -> None:
    """Every field that changes the picture or its form changes the digest."""
    edit = an_edit()

    assert digest(replace(edit, **changes), [ONE]) != digest(edit, [ONE])


@pytest.mark.parametrize(
    "pictures",
    [(), (TWO,), (ONE, TWO), (ONE, ONE), (LINK,), (mark_of(b"", "one"),)],
    ids=["none", "other", "more", "twice", "link", "link of the same bytes"],
)
def test_each_picture_counts(pictures: tuple[bytes, ...]) -> None:
    """Other pictures are other content."""
    assert digest(an_edit(), pictures) != digest(an_edit(), [ONE])


def test_what_else_comes_counts() -> None:
    """An edit with a mask, or another one, is another edit; so is the other path."""
    edit = an_edit()
    digests = {
        digest(edit, [ONE]),
        digest(edit, [ONE], {"mask": TWO}),
        digest(edit, [ONE], {"mask": ONE}),
        digest(edit, [ONE], {"markup": TWO}),
        digest(edit, [ONE, TWO]),
        digest(edit, [ONE], operation=Operation.GENERATE),
    }

    assert len(digests) == 6


def test_order_counts() -> None:
    """The same pictures in another order are another edit."""
    assert digest(an_edit(), [ONE, TWO]) != digest(an_edit(), [TWO, ONE])


def test_values_do_not_run_together() -> None:
    """A text that moves from one field to the next is another content."""
    first = an_edit("ab", negative_prompt="c")
    second = an_edit("a", negative_prompt="bc")

    assert digest(first) != digest(second)


def test_the_first_version() -> None:
    """What version 1 wrote into ledgers is still known, with a mask and without."""
    answer = OutputOptions(output_format="webp", compression=80, scale_to=Size(512, 512))
    edit = an_edit(n=2, negative_prompt="", size=Size(768, 768), seed=7, output=answer)

    assert first_digest(edit, [ONE, LINK], mark_of(b"mask")) == (
        "fb408a8ed7cbfaf46193b8dd35fed04c8f618245e6fa003b615e30819683ee8e"
    )
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    assert first_digest(an_edit("a hat"), [mark_of(png)]) == (
        "23e1946eb7f9afcd54b97b9676ccd90c2b3490dbc77fa9516261f2b11e85bae1"
    )


def test_versions_are_told_apart() -> None:
    """Only digests of one version tell that two contents differ."""
    new, old = digest(an_edit()), first_digest(an_edit(), [])

    assert comparable(new, new)
    assert comparable(old, old)
    assert not comparable(old, new)


def test_prompt_digest_is_blind_to_edges() -> None:
    """DashScope may trim a prompt: spaces around it play no part."""
    assert prompt_digest(" a cat\n") == prompt_digest("a cat")
    assert prompt_digest("a cat") != prompt_digest("a Cat")


def test_the_default_of_the_format_does_not_count() -> None:
    """Whether a URL is OpenAI's default depends on the config, which makes no retry a new edit."""
    unasked = OutputOptions(ResponseFormat.URL, url_by_default=True)
    edit = an_edit()

    assert digest(replace(edit, output=unasked), [ONE]) == digest(edit, [ONE])
    first = first_digest(replace(edit, output=unasked), [ONE])
    assert first == first_digest(edit, [ONE])
