import pytest

from gateway.translate.tokens import estimate_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a lamp", 2),
        ("lamps", 2),
        ("photograph of a cat", 6),
        ("灯塔", 2),
        ("1984.", 5),
        ("été", 3),
        ("\n\t ", 0),
        ("🦊", 3),
    ],
)
def test_estimates(text: str, tokens: int) -> None:
    """Words count by fours, all else by the sign, blanks not at all."""
    assert estimate_tokens(text) == tokens
