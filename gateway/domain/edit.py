"""An edit as a client requests it: pictures, options, parts."""

from dataclasses import dataclass, field
from enum import StrEnum


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
    One input picture: its bytes, or a URL, which is passed on unread.

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
    moved: bool = False
    """Whether pixels are elsewhere than in the file that was sent: turned, scaled or padded."""


class ResponseFormat(StrEnum):
    B64_JSON = "b64_json"
    URL = "url"


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How the pictures are returned: format, size and shape."""

    response_format: ResponseFormat = ResponseFormat.B64_JSON
    output_format: str = "png"
    """png, jpeg or webp."""
    compression: int | None = None
    """OpenAI's ``output_compression``, the quality from 0 to 100; None for png and its default."""
    scale_to: Size | None = None
    """
    The requested size, where DashScope may make another; ``None``: as DashScope makes it.
    """
    composite: bool = False
    """Whether a mask keeps parts of the original; see MaskSource."""
    stream: bool = False
    """As server-sent events. Of the request, not the edit: a retry that joins may differ."""
    url_by_default: bool = False
    """Whether *response_format* is a URL only because OpenAI's answer would be, unasked."""

    @property
    def passes_through(self) -> bool:
        """Whether DashScope's bytes are returned unchanged, if they are a PNG of the right size."""
        return self.output_format == "png" and not self.composite

    @property
    def is_upstreams_own(self) -> bool:
        """Whether DashScope's file is what the client asked for, so that its URL will do."""
        return self.passes_through and self.scale_to is None


@dataclass(frozen=True, slots=True)
class MaskSource:
    """What compositing a masked edit needs: the bytes as the client sent them."""

    original: bytes = field(repr=False)
    """The first picture, unchanged."""
    mask: bytes = field(repr=False)
    """Fully transparent where the result is used; as large as the original."""


@dataclass(frozen=True, slots=True)
class Edit:
    """
    One validated request without its pictures, whose bytes are dropped earlier.

    A generation is an edit without pictures. ``None`` means that the client left it out; it
    is then left out upstream as well.
    """

    model: str
    """DashScope's name."""
    prompt: str = field(repr=False)
    n: int = 1
    negative_prompt: str | None = field(default=None, repr=False)
    size: Size | None = None
    """The size that DashScope is asked for."""
    seed: int | None = None
    watermark: bool | None = None
    prompt_extend: bool | None = None
    options: tuple[tuple[str, str], ...] = ()
    """Further parameters of DashScope's that the model has, by name, as JSON."""
    transparent: bool = False
    """Whether its prompt asks for a transparent background."""
    output: OutputOptions = OutputOptions()
    model_asked: str = ""
    """The model as the client named it; empty where none was named."""
    ignored: tuple[str, ...] = ()
    """Fields without effect, for ``x-wan-ignored-params``."""
    adjusted: tuple[str, ...] = ()
    """What is done to its pictures, ``1:rotated``, ``size:768x768->512x512``."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The client's prompts; empty after a restart, since they are not stored (D11)."""
        return tuple(filter(None, (self.prompt, self.negative_prompt)))


@dataclass(frozen=True, slots=True)
class Part:
    """The pictures of an edit that one task makes."""

    index: int
    n: int
    seed: int | None = None


def parts_of(edit: Edit, most: int) -> tuple[Part, ...]:
    """Split *edit* into tasks of *most* pictures, in order; their seeds are consecutive."""
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
