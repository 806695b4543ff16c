"""Effects that a person can see."""

from io import BytesIO

import pytest
from PIL import Image, ImageChops

from gateway.sandbox.pictures import effect_for
from tests.sandbox.stage import picture

SENT = Image.open(BytesIO(picture())).convert("RGB")


@pytest.mark.parametrize(
    "word",
    [
        "grayscale", "sepia", "blur", "mirror", "invert", "pop art", "sketch", "pixel", "warm",
        "cold", "黑白",
    ],
)  # fmt: skip
def test_word_changes_the_picture(word: str) -> None:
    """Every word has an effect that changes the picture and keeps its size and mode."""
    made = effect_for(f"Please make it {word.upper()}")(SENT)

    assert (made.size, made.mode) == (SENT.size, "RGB")
    assert ImageChops.difference(made, SENT).getbbox() is not None


def test_mirror_swaps_the_sides() -> None:
    """Mirror turns left into right."""
    made = effect_for("mirror")(SENT)

    assert made.getpixel((639, 0)) == SENT.getpixel((0, 0))


def test_without_a_word_the_prompt_decides() -> None:
    """Prompts without a word get an effect by their hash: one prompt always the same."""
    prompts = [f"a hat {number}" for number in range(30)]

    effects = [effect_for(prompt) for prompt in prompts]

    assert effects == [effect_for(prompt) for prompt in prompts]
    assert len(set(effects)) > 4
