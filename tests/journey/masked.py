"""An edit with a mask, and what is kept to finish it."""

from typing import Any

from gateway.domain.edit import AnswerForm, Keepsake, Size
from gateway.journey.ask import Ask
from tests.journey.house import House

KEPT = Keepsake(original=b"photo", mask=b"hole")
MASKED = AnswerForm(scale_to=Size(640, 480), composite=True)
LAID = b" as png 640x480 into photo by hole"


def masked(house: House, **changes: Any) -> Ask:
    return house.ask(answer=MASKED, keepsake=KEPT, **changes)
