import pytest

from gateway.domain.edit import Part, Picture, Size, parts_of
from tests.fakes import an_edit


@pytest.mark.parametrize(
    ("n", "counts"),
    [(1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (10, [4, 4, 2])],
)
def test_parts(n: int, counts: list[int]) -> None:
    """Pictures are shared out four to a task, in order."""
    parts = parts_of(an_edit(n=n), 4)

    assert [part.n for part in parts] == counts
    assert [part.index for part in parts] == list(range(len(counts)))
    assert all(part.seed is None for part in parts)


def test_seeds_go_on() -> None:
    """The seed of each task goes on where the one before ends, inside 31 bits."""
    assert [part.seed for part in parts_of(an_edit(n=10, seed=7), 4)] == [7, 11, 15]
    assert parts_of(an_edit(n=8, seed=2**31 - 2), 4)[1] == Part(1, 4, 2)


def test_size_in_openai_spelling() -> None:
    """A size is told as OpenAI spells it."""
    assert str(Size(1024, 768)) == "1024x768"


def test_nothing_private_in_repr() -> None:
    """Neither prompt, bytes nor URL appear in a representation."""
    shown = repr((an_edit("canary", negative_prompt="canary"), Picture(b"canary", url="canary")))

    assert "canary" not in shown
