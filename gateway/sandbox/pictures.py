"""
Result pictures: rendered from the input picture and the words of the prompt, or canned.

Each result carries PNG text chunks that show a test which task and which inputs it belongs to.
"""

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

from gateway.sandbox.tasks import InputPicture, SandboxTask, Size, SubmitRequest

_THREADS = 2
#: A canned picture leaves this many bytes for its labels.
_LABEL_BYTES = 600


class Pictures:
    """
    Renders a result in a thread when it is first downloaded, and caches the most recent ones.

    Args:
        plain_bytes: Size of every canned picture; None renders each from the input picture.
        cache_bytes: Size of the cache of rendered pictures.
    """

    def __init__(self, *, plain_bytes: int | None, cache_bytes: int) -> None:
        self._plain_bytes = plain_bytes
        self._threads = CapacityLimiter(_THREADS)
        self._png_by_result: LRUCache[tuple[str, int], bytes] = LRUCache(cache_bytes, len)
        self._canned_by_kind: LRUCache[tuple[Size, bool], bytes] = LRUCache(8)

    async def png(self, task: SandboxTask, index: int) -> bytes:
        """Return a result as a labelled PNG."""
        if self._plain_bytes is not None:
            request = task.request
            png = self._canned(request.result_size, clear=request.transparent)
            return label(png, _labels(task, index))
        key = (task.id, index)
        if key not in self._png_by_result:
            rendered = await to_thread.run_sync(
                partial(render, task.request, index), limiter=self._threads
            )
            png = label(rendered, _labels(task, index))
            if len(png) > self._png_by_result.maxsize:
                return png
            self._png_by_result[key] = png
        return self._png_by_result[key]

    def _canned(self, size: Size, *, clear: bool) -> bytes:
        kind = (size, clear)
        if kind not in self._canned_by_kind:
            self._canned_by_kind[kind] = canned(size, self._plain_bytes or 0, clear=clear)
        return self._canned_by_kind[kind]


def render(request: SubmitRequest, index: int) -> bytes:
    """
    Render the result of *request* at *index*: the last input picture, changed by the prompt.

    Without an input picture its colours come from the prompt.
    """
    seed = (request.seed if request.seed is not None else 0) + index
    if request.images:
        picture = _open(request.images[-1]).resize(request.result_size)
    else:
        picture = placeholder(request.prompt_sha256, request.result_size)
    picture = vary(effect_for(request.prompt)(picture), seed)
    if request.watermark:
        picture = stamp(picture, "AI-generated")
    if request.transparent:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return _encode(picture)


def canned(size: Size, total_bytes: int, *, clear: bool = False) -> bytes:
    """
    Return a grey PNG of that size, filled up to about *total_bytes* with a private chunk.

    A *clear* one is transparent all over.
    """
    grey = Image.new("LA", size, (127, 0)) if clear else Image.new("L", size, 127)
    png = _encode(grey)
    filling = total_bytes - len(png) - _LABEL_BYTES
    if filling <= 0:
        return png
    noise = chunk(b"saNd", Random(0).randbytes(filling))
    return png[:HEAD_BYTES] + noise + png[HEAD_BYTES:]


def _open(source: InputPicture) -> Image.Image:
    if source.data is None:
        return placeholder(source.sha256, source.size)
    with Image.open(BytesIO(source.data)) as picture:
        return picture.convert("RGB")


def _encode(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _labels(task: SandboxTask, index: int) -> dict[str, str]:
    digests = [picture.sha256 for picture in task.request.images]
    labels = {
        "sandbox-task": task.id,
        "sandbox-index": str(index),
        "sandbox-prompt-sha256": task.request.prompt_sha256,
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
    """Return the effect of the first known word in the prompt, else one chosen by its hash."""
    text = prompt.lower()
    for words, effect in _WORDS:
        if any(word in text for word in words):
            return effect
    return _WORDS[sha256(prompt.encode()).digest()[0] % len(_WORDS)][1]


def vary(picture: Picture, seed: int) -> Picture:
    """Change brightness and contrast a little, so that results of different seeds differ."""
    rng = Random(seed)
    brighter = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.9, 1.1))
    return ImageEnhance.Contrast(brighter).enhance(rng.uniform(0.9, 1.1))


def stamp(picture: Picture, text: str) -> Picture:
    """Write *text* into the bottom right corner."""
    width, height = picture.size
    ImageDraw.Draw(picture).text(
        (width - 16, height - 16), text, fill="white", anchor="rd", font_size=28,
        stroke_width=2, stroke_fill="black",
    )  # fmt: skip
    return picture


def placeholder(digest: str, size: Size) -> Picture:
    """Return a gradient of two colours from *digest* (hex), for a picture that is not fetched."""
    ramp = Image.linear_gradient("L").resize(size)
    return ImageOps.colorize(ramp, f"#{digest[:6]}", f"#{digest[6:12]}")


SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Length of the signature and IHDR that every PNG begins with; text chunks may follow.
HEAD_BYTES = 33


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))


def label(png: bytes, labels: Mapping[str, str]) -> bytes:
    """Insert *labels* (Latin-1) into *png* as text chunks, right after its header."""
    texts = (chunk(b"tEXt", f"{name}\0{value}".encode("latin-1")) for name, value in labels.items())
    return b"".join((png[:HEAD_BYTES], *texts, png[HEAD_BYTES:]))


def read_labels(png: bytes) -> dict[str, str]:
    """
    Read the labels of a result.

    Returns:
        ``sandbox-task``, ``sandbox-index``, ``sandbox-prompt-sha256``, ``sandbox-input-sha256``
        (of the last input picture) and ``sandbox-inputs-sha256`` (of all, separated by commas);
        empty for a PNG that the sandbox did not make.
    """
    labels = {}
    at = HEAD_BYTES
    while png[at + 4 : at + 8] == b"tEXt":
        size = struct.unpack_from(">I", png, at)[0]
        name, _, value = png[at + 8 : at + 8 + size].partition(b"\0")
        labels[name.decode("latin-1")] = value.decode("latin-1")
        at += 12 + size
    return labels
