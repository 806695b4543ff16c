"""x"""

import struct
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from io import BytesIO
from random import Random
from zlib import crc32

from anyio import CapacityLimiter, to_thread
from cachetools import LRUCache
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from gateway.sandbox.tasks import Order, Sent, Size, Task

_ENOUGH_THREADS = 2
#: Room of a label's chunks: what a canned picture leaves of its size.
_LABEL_BYTES = 600


class Pictures:
    """
    Makes results when they are first downloaded, off the event loop, and keeps the last ones.

    Args:
        plain_bytes: Size of every canned picture; None makes each from the picture sent.
        cache_bytes: How many bytes of made pictures are kept.
    """

    def __init__(self, *, plain_bytes: int | None, cache_bytes: int) -> None:
        self._plain_bytes = plain_bytes
        self._threads = CapacityLimiter(_ENOUGH_THREADS)
        self._png_by_place: LRUCache[tuple[str, int], bytes] = LRUCache(cache_bytes, len)
        self._canned_by_size: LRUCache[Size, bytes] = LRUCache(8)

    async def png(self, task: Task, index: int) -> bytes:
        """Give the result of *task* at *index*, as bytes of a PNG that carries its labels."""
        if self._plain_bytes is not None:
            return label(self._canned(task.order.made_size), _labels(task, index))
        place = (task.id, index)
        if place not in self._png_by_place:
            made = await to_thread.run_sync(
                partial(render, task.order, index), limiter=self._threads
            )
            png = label(made, _labels(task, index))
            if len(png) > self._png_by_place.maxsize:
                return png
            self._png_by_place[place] = png
        return self._png_by_place[place]

    def _canned(self, size: Size) -> bytes:
        if size not in self._canned_by_size:
            self._canned_by_size[size] = canned(size, self._plain_bytes or 0)
        return self._canned_by_size[size]


def render(order: Order, index: int) -> bytes:
    """
    Make the picture of *order* at *index*: the last picture sent, changed as the prompt says.

    Without a picture its colours come from the prompt.
    """
    seed = (order.seed if order.seed is not None else 0) + index
    if order.images:
        picture = _opened(order.images[-1]).resize(order.made_size)
    else:
        picture = placeholder(order.prompt_sha256, order.made_size)
    picture = vary(effect_for(order.prompt)(picture), seed)
    if order.watermark:
        picture = stamp(picture, "AI-generated")
    return _encoded(picture)


def canned(size: Size, total_bytes: int) -> bytes:
    """A grey PNG of that many pixels, filled up to about *total_bytes* with a private chunk."""
    png = _encoded(Image.new("L", size, 127))
    filling = total_bytes - len(png) - _LABEL_BYTES
    if filling <= 0:
        return png
    noise = chunk(b"saNd", Random(0).randbytes(filling))
    return png[:HEAD_BYTES] + noise + png[HEAD_BYTES:]


def _opened(sent: Sent) -> Image.Image:
    if sent.data is None:
        return placeholder(sent.sha256, sent.size)
    with Image.open(BytesIO(sent.data)) as picture:
        return picture.convert("RGB")


def _encoded(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _labels(task: Task, index: int) -> dict[str, str]:
    digests = [sent.sha256 for sent in task.order.images]
    labels = {
        "sandbox-task": task.id,
        "sandbox-index": str(index),
        "sandbox-prompt-sha256": task.order.prompt_sha256,
    }
    if digests:
        labels["sandbox-input-sha256"] = digests[-1]
        labels["sandbox-inputs-sha256"] = ",".join(digests)
    return labels


Picture = Image.Image
Effect = Callable[[Picture], Picture]


def _grayscale(picture: Picture) -> Picture:
    return picture.convert("L").convert("RGB")


def _sepia(picture: Picture) -> Picture:
    return ImageOps.colorize(picture.convert("L"), "#2b1706", "#fff1d6", mid="#a9783f")


def _blur(picture: Picture) -> Picture:
    return picture.filter(ImageFilter.BoxBlur(max(picture.size) // 80))


def _posterize(picture: Picture) -> Picture:
    return ImageEnhance.Color(ImageOps.posterize(picture, 2)).enhance(1.8)


def _edges(picture: Picture) -> Picture:
    edges = picture.convert("L").filter(ImageFilter.SMOOTH_MORE).filter(ImageFilter.FIND_EDGES)
    return ImageOps.autocontrast(ImageOps.invert(edges)).convert("RGB")


def _pixels(picture: Picture) -> Picture:
    small = picture.resize((max(1, picture.width // 24), max(1, picture.height // 24)))
    return small.resize(picture.size, Image.Resampling.NEAREST)


def _tinted(red: float, blue: float) -> Effect:
    def tint(picture: Picture) -> Picture:
        bands = picture.split()
        return Image.merge(
            "RGB",
            (
                bands[0].point(lambda level: level * red),
                bands[1],
                bands[2].point(lambda level: level * blue),
            ),
        )

    return tint


_WORDS: tuple[tuple[tuple[str, ...], Effect], ...] = (
    (("grayscale", "greyscale", "black and white", "monochrome", "黑白"), _grayscale),
    (("sepia", "vintage", "old photo", "复古"), _sepia),
    (("blur", "soft focus", "模糊"), _blur),
    (("mirror", "flip", "镜像"), ImageOps.mirror),
    (("invert", "negative", "反色"), ImageOps.invert),
    (("posterize", "pop art", "poster", "波普"), _posterize),
    (("edges", "sketch", "pencil", "drawing", "素描"), _edges),
    (("pixel", "8-bit", "mosaic", "像素"), _pixels),
    (("warm", "sunset", "暖"), _tinted(1.25, 0.7)),
    (("cold", "winter", "night", "冷"), _tinted(0.7, 1.25)),
)


def effect_for(prompt: str) -> Effect:
    """Choose by the first word that the prompt holds, else by the prompt's hash."""
    text = prompt.lower()
    for words, effect in _WORDS:
        if any(word in text for word in words):
            return effect
    return _WORDS[sha256(prompt.encode()).digest()[0] % len(_WORDS)][1]


def vary(picture: Picture, seed: int) -> Picture:
    """Change the light a little, so that pictures of neighbouring seeds differ."""
    dice = Random(seed)
    brighter = ImageEnhance.Brightness(picture).enhance(dice.uniform(0.9, 1.1))
    return ImageEnhance.Contrast(brighter).enhance(dice.uniform(0.9, 1.1))


def stamp(picture: Picture, text: str) -> Picture:
    """Write *text* into the bottom right corner."""
    width, height = picture.size
    ImageDraw.Draw(picture).text(
        (width - 16, height - 16), text, fill="white", anchor="rd", font_size=28,
        stroke_width=2, stroke_fill="black",
    )  # fmt: skip
    return picture


def placeholder(digest: str, size: Size) -> Picture:
    """Paint two colours of *digest* (hex) into each other, for a picture that is not fetched."""
    ramp = Image.linear_gradient("L").resize(size)
    return ImageOps.colorize(ramp, f"#{digest[:6]}", f"#{digest[6:12]}")


SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Signature and IHDR: what every PNG begins with, and behind which text may stand.
HEAD_BYTES = 33


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))


def label(png: bytes, labels: Mapping[str, str]) -> bytes:
    """Put *labels* (Latin-1) into *png* as text chunks, right behind its header."""
    texts = (chunk(b"tEXt", f"{name}\0{value}".encode("latin-1")) for name, value in labels.items())
    return b"".join((png[:HEAD_BYTES], *texts, png[HEAD_BYTES:]))


def read_labels(png: bytes) -> dict[str, str]:
    """
    Read the sandbox's labels out of one of its results.

    Returns:
        ``sandbox-task``, ``sandbox-index``, ``sandbox-prompt-sha256``, ``sandbox-input-sha256``
        (of the last input picture) and ``sandbox-inputs-sha256`` (of all, comma between); empty
        for a PNG of another origin.
    """
    labels = {}
    at = HEAD_BYTES
    while png[at + 4 : at + 8] == b"tEXt":
        size = struct.unpack_from(">I", png, at)[0]
        name, _, value = png[at + 8 : at + 8 + size].partition(b"\0")
        labels[name.decode("latin-1")] = value.decode("latin-1")
        at += 12 + size
    return labels
