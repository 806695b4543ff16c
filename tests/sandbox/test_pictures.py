"""Result pictures: labels, caching, and effects that a person can see."""

from dataclasses import replace
from hashlib import sha256
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from gateway.sandbox import read_labels
from gateway.sandbox.faults import End
from gateway.sandbox.pictures import Pictures, effect_for, render
from gateway.sandbox.tasks import InputPicture, SandboxTask, SubmitRequest
from tests.sandbox.region_client import picture

pytestmark = pytest.mark.anyio

SENT = InputPicture("data", sha256(picture()).hexdigest(), (640, 480), picture())
URL = InputPicture("url", sha256(b"https://x").hexdigest(), (1024, 1024))
ORDER = SubmitRequest("m", "sepia", images=(URL, SENT), n=2, size=(800, 800))


def task(request: SubmitRequest = ORDER) -> SandboxTask:
    return SandboxTask("t-1", "r", 0, "a", "a/0", request, 0, 1, End())


def opened(png: bytes) -> Image.Image:
    image = Image.open(BytesIO(png))
    image.load()
    return image


async def test_labels_and_size() -> None:
    """A result is a PNG of the size asked that tells task, index, prompt and inputs."""
    png = await Pictures(plain_bytes=None, cache_bytes=10**7).png(task(), 1)

    assert opened(png).size == (800, 800)
    assert read_labels(png) == {
        "sandbox-task": "t-1",
        "sandbox-index": "1",
        "sandbox-prompt-sha256": sha256(b"sepia").hexdigest(),
        "sandbox-input-sha256": SENT.sha256,
        "sandbox-inputs-sha256": f"{URL.sha256},{SENT.sha256}",
    }


def test_no_labels_in_another_png() -> None:
    """A PNG of another origin has no labels."""
    assert read_labels(picture()) == {}


def test_neighbours_differ_and_repeat() -> None:
    """Pictures of one task differ from each other, and are the same every time."""
    assert render(ORDER, 0) != render(ORDER, 1)
    assert render(ORDER, 0) == render(ORDER, 0)
    assert render(replace(ORDER, seed=1), 0) == render(ORDER, 1)


def test_watermark() -> None:
    """A watermark changes the bottom right corner and nothing else."""
    plain = opened(render(ORDER, 0))
    marked = opened(render(replace(ORDER, watermark=True), 0))

    box = ImageChops.difference(plain.convert("RGB"), marked.convert("RGB")).getbbox()

    assert box is not None
    assert box[0] > 400
    assert box[1] > 700


def test_last_picture_is_the_one_edited() -> None:
    """Of several pictures the last one is changed, the others are not seen."""
    alone = replace(ORDER, images=(SENT,))

    assert render(ORDER, 0) == render(alone, 0)


def test_placeholder() -> None:
    """A picture that is not fetched is painted from its URL's digest."""
    request = replace(ORDER, images=(URL,))
    other = replace(ORDER, images=(replace(URL, sha256="0123456789abcdef"),))

    assert render(request, 0) != render(other, 0)


@pytest.mark.parametrize(
    ("cache_bytes", "kept"),
    [pytest.param(10**7, True, id="kept"), pytest.param(100, False, id="too-big-to-keep")],
)
async def test_cache(cache_bytes: int, *, kept: bool) -> None:
    """A result is made once as long as the cache has room for it."""
    pictures, subject = Pictures(plain_bytes=None, cache_bytes=cache_bytes), task()

    first, second = await pictures.png(subject, 0), await pictures.png(subject, 0)

    assert first == second
    assert (first is second) == kept


@pytest.mark.parametrize("size", [500_000, 100])
async def test_plain(size: int) -> None:
    """A canned picture has the pixels asked, its own labels, and about the bytes configured."""
    pictures = Pictures(plain_bytes=size, cache_bytes=0)

    png, other = await pictures.png(task(), 0), await pictures.png(task(), 1)

    assert opened(png).size == (800, 800)
    assert abs(len(png) - max(size, 2500)) < 2500
    assert (read_labels(png)["sandbox-index"], read_labels(other)["sandbox-index"]) == ("0", "1")


def test_a_picture_of_a_prompt_alone() -> None:
    """Without a picture its colours come from the prompt, its size from the order."""
    request = SubmitRequest("m", "a red kite", size=(1280, 1280), n=1)

    png = render(request, 0)

    assert opened(png).size == (1280, 1280)
    assert png != render(replace(request, prompt="a blue kite"), 0)


async def test_labels_of_a_prompt_alone() -> None:
    """The labels tell of no picture where none was sent."""
    pictures = Pictures(plain_bytes=None, cache_bytes=10**7)

    labels = read_labels(await pictures.png(task(SubmitRequest("m", "a kite", n=1)), 0))

    assert sorted(labels) == ["sandbox-index", "sandbox-prompt-sha256", "sandbox-task"]


PICTURE = Image.open(BytesIO(picture())).convert("RGB")


@pytest.mark.parametrize(
    "word",
    [
        "grayscale", "sepia", "blur", "mirror", "invert", "pop art", "sketch", "pixel", "warm",
        "cold", "黑白",
    ],
)  # fmt: skip
def test_word_changes_the_picture(word: str) -> None:
    """Every word has an effect that changes the picture and keeps its size and mode."""
    result = effect_for(f"Please make it {word.upper()}")(PICTURE)

    assert (result.size, result.mode) == (PICTURE.size, "RGB")
    assert ImageChops.difference(result, PICTURE).getbbox() is not None


def test_mirror_swaps_the_sides() -> None:
    """Mirror turns left into right."""
    result = effect_for("mirror")(PICTURE)

    assert result.getpixel((639, 0)) == PICTURE.getpixel((0, 0))


def test_without_a_word_the_prompt_decides() -> None:
    """Prompts without a word get an effect by their hash: one prompt always the same."""
    prompts = [f"a hat {number}" for number in range(30)]

    effects = [effect_for(prompt) for prompt in prompts]

    assert effects == [effect_for(prompt) for prompt in prompts]
    assert len(set(effects)) > 4
