"""What one submit asked for, after the checks."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from gateway.sandbox.models import rules_of

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Sent:
    """
    One picture as it was sent.

    Attributes:
        kind: How: inline, by a URL that the sandbox never fetches, or uploaded before.
        sha256: Hex digest of the bytes; of the URL itself for ``"url"``.
        data: The encoded file; None for ``"url"`` and where only digests are kept.
    """

    kind: Literal["data", "url", "oss"]
    sha256: str
    size: Size
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Order:
    """A submit's body with every default filled in (reference section 1.3)."""

    model: str
    prompt: str = field(repr=False)
    negative_prompt: str = field(default="", repr=False)
    images: tuple[Sent, ...] = ()
    n: int = 4
    size: Size | None = None
    seed: int | None = None
    prompt_extend: bool = True
    watermark: bool = False

    @property
    def made_size(self) -> Size:
        """Width and height of the results: as asked, or the model's area like the last picture."""
        results = rules_of(self.model).results
        if self.size:
            return results.rounded(*self.size)
        return results.like(*(self.images[-1].size if self.images else (1, 1)))

    @property
    def prompt_sha256(self) -> str:
        return sha256(self.prompt.encode()).hexdigest()

    @property
    def actual_prompt(self) -> str:
        """What the language model made of the prompt."""
        return f"{self.prompt}, natural light, fine detail"
