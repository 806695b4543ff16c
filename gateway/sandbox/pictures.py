"""Result pictures: made from the picture sent and the words of the prompt, or canned."""

from functools import partial
from io import BytesIO
from random import Random

from anyio import CapacityLimiter, to_thread
from cachetools import LRUCache
from PIL import Image

from gateway.sandbox.effects import effect_for, placeholder, stamp, vary
from gateway.sandbox.labels import HEAD_BYTES, chunk, label
from gateway.sandbox.order import Order, Sent, Size
from gateway.sandbox.task import Task

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
