"""What DashScope charges for a task by its list prices."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.domain.edit import Size


@dataclass(frozen=True, slots=True)
class Bill:
    """What one task is charged for."""

    sizes: tuple[Size | None, ...]
    """Of each picture that was made; ``None`` where it is not known."""
    inputs: int = 0
    """Pictures put in."""
    extended: bool = False
    """Whether DashScope was asked to rewrite the prompt (``prompt_extend``)."""


@dataclass(frozen=True, slots=True)
class Price:
    """The list price of a model in one region; a task that made no picture costs nothing."""

    picture: float
    """Of each picture that was made, where none of the other prices holds."""
    currency: str
    """ISO 4217: ``CNY``, ``USD``."""
    large_picture: float | None = None
    """Of one of more than *large_pixels*; ``None``: all sizes have one price."""
    large_pixels: int = 0
    input_picture: float = 0.0
    """Of each picture put in, once for a task."""
    extended_picture: float | None = None
    """Of one by a rewritten prompt, whatever its size; ``None``: as the others."""

    def cost(self, bill: Bill) -> float:
        """Return what a task costs, in *currency*."""
        if not bill.sizes:
            return 0.0
        made = sum(self._made(size, extended=bill.extended) for size in bill.sizes)
        return made + bill.inputs * self.input_picture

    def _made(self, size: Size | None, *, extended: bool) -> float:
        if extended and self.extended_picture is not None:
            return self.extended_picture
        if self.large_picture is None:
            return self.picture
        # Rather too much than too little where DashScope does not say how large it is.
        large = size is None or size.width * size.height > self.large_pixels
        return self.large_picture if large else self.picture


Prices = Mapping[tuple[str, str], Price]
"""By region and model; without a price the cost is not known."""
