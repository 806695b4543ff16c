"""Results: their size, their labels, their effect, their cache."""

from dataclasses import replace
from hashlib import sha256
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from gateway.sandbox import read_labels
from gateway.sandbox.faults import End
from gateway.sandbox.pictures import Pictures, render
from gateway.sandbox.tasks import Order, Sent, Task
from tests.sandbox.stage import picture

pytestmark = pytest.mark.anyio

SENT = Sent("data", sha256(picture()).hexdigest(), (640, 480), picture())
URL = Sent("url", sha256(b"https://x").hexdigest(), (1024, 1024))
ORDER = Order("m", "sepia", images=(URL, SENT), n=2, size=(800, 800))


def task(order: Order = ORDER) -> Task:
    return Task("t-1", "r", 0, "a", "a/0", order, 0, 1, End())


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
    order = replace(ORDER, images=(URL,))
    other = replace(ORDER, images=(replace(URL, sha256="0123456789abcdef"),))

    assert render(order, 0) != render(other, 0)


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
    order = Order("m", "a red kite", size=(1280, 1280), n=1)

    png = render(order, 0)

    assert opened(png).size == (1280, 1280)
    assert png != render(replace(order, prompt="a blue kite"), 0)


async def test_labels_of_a_prompt_alone() -> None:
    """The labels tell of no picture where none was sent."""
    made = Pictures(plain_bytes=None, cache_bytes=10**7)

    labels = read_labels(await made.png(task(Order("m", "a kite", n=1)), 0))

    assert sorted(labels) == ["sandbox-index", "sandbox-prompt-sha256", "sandbox-task"]
