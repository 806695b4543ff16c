"""The nouns of what a client asks for."""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.domain.models import MODELS


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        """Return OpenAI's spelling, ``1024x1024``."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Picture:
    """
    One input picture: either bytes, which travel inline, or a URL, which goes on unread.

    Exactly one of *content* and *url* is set.
    """

    content: bytes = field(default=b"", repr=False)
    media_type: str = ""
    """``image/png`` …, decided by the bytes themselves; empty until then, and for a URL."""
    url: str = field(default="", repr=False)
    size: Size | None = None
    """In pixels; ``None`` until it was decoded, and for a URL."""
    adjusted: tuple[str, ...] = ()
    """What was done to it, in order, so that DashScope takes it: ``rotated``, ``reencoded`` …"""


class ResponseFormat(StrEnum):
    B64_JSON = "b64_json"
    URL = "url"


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How the pictures go back: all that is done to DashScope's PNGs, and in which shape."""

    response_format: ResponseFormat = ResponseFormat.B64_JSON
    output_format: str = "png"
    """png, jpeg or webp."""
    compression: int | None = None
    """OpenAI's ``output_compression``, the quality from 0 to 100; None for png and its default."""
    scale_to: Size | None = None
    """
    What was asked for: DashScope may make another size, or is asked for one. ``None``: as it
    comes.
    """
    composite: bool = False
    """Whether a mask keeps parts of the original; see MaskSource."""
    stream: bool = False
    """As server-sent events. Of one request: a retry that joins may want it otherwise."""

    @property
    def passes_through(self) -> bool:
        """Whether DashScope's bytes go back untouched, if they are a PNG of the right size."""
        return self.output_format == "png" and not self.composite


@dataclass(frozen=True, slots=True)
class MaskSource:
    """What a masked edit needs again when its pictures have come: the bytes as they were sent."""

    original: bytes = field(repr=False)
    """The edit's first picture, before anything was done to it."""
    mask: bytes = field(repr=False)
    """Fully transparent where the edit shows; its size is the original's."""


@dataclass(frozen=True, slots=True)
class Edit:
    """
    One validated request without its pictures, whose bytes live shorter than it does.

    One that never had pictures is a generation: it goes the same way.

    ``None`` means: not asked for, left out upstream.
    """

    model: str
    """DashScope's name."""
    prompt: str = field(repr=False)
    n: int = 1
    negative_prompt: str | None = field(default=None, repr=False)
    size: Size | None = None
    """What DashScope is asked to make."""
    seed: int | None = None
    watermark: bool | None = None
    prompt_extend: bool | None = None
    output: OutputOptions = OutputOptions()
    model_asked: str = ""
    """The model as the client named it; empty where none was named."""
    ignored: tuple[str, ...] = ()
    """Fields that were accepted without effect, for ``x-wan-ignored-params``."""
    adjusted: tuple[str, ...] = ()
    """What is done to its pictures, ``1:rotated``, ``size:768x768->512x512``."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The client's own words; none where they are not known any more, after a restart."""
        return tuple(filter(None, (self.prompt, self.negative_prompt)))


@dataclass(frozen=True, slots=True)
class Part:
    """The share of an edit that one task makes."""

    index: int
    n: int
    seed: int | None = None


_OF_WANS = 4  # dashscope.md 1.3: parameters.n


def most_of_a_task(model: str) -> int:
    """Return how many pictures a task of *model* makes at most; one that is gone made Wan's 4."""
    entry = MODELS.get(model)
    return _OF_WANS if entry is None else entry.most_made


def parts_of(edit: Edit) -> tuple[Part, ...]:
    """Share *edit* out among tasks, in order; seeds go on where the last task's end."""
    most = most_of_a_task(edit.model)
    counts = [most] * (edit.n // most)
    if edit.n % most:
        counts.append(edit.n % most)
    parts = []
    before = 0
    for index, n in enumerate(counts):
        seed = None if edit.seed is None else (edit.seed + before) % (2**31)
        parts.append(Part(index=index, n=n, seed=seed))
        before += n
    return tuple(parts)
