"""An edit with a mask, and what is kept to finish it."""

from typing import Any

from gateway.domain.edit import MaskSource, OutputOptions, Size
from gateway.edits.request import EditRequest
from tests.edits.harness import EditHarness

KEPT = MaskSource(original=b"photo", mask=b"hole")
MASKED = OutputOptions(scale_to=Size(640, 480), composite=True)
LAID = b" as png 640x480 into photo by hole"


def masked(harness: EditHarness, **changes: Any) -> EditRequest:
    return harness.request(output=MASKED, mask_source=KEPT, **changes)
