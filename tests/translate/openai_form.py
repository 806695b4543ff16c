"""A request as its fields, and the edit that it means."""

from gateway.domain.edit import Edit
from gateway.domain.models import Catalog, Operation
from gateway.translate.openai_request import edit_of
from tests.models import EDITOR

WAN = "wan2.5-i2i-preview"
MODELS = dict.fromkeys((WAN, "gpt-image-1", "dall-e-2"), EDITOR)
OFFER = Catalog(Operation.EDIT, MODELS, WAN)
PLAIN = Edit(model=WAN, prompt="a cat")


def edit(
    *fields: tuple[str, str], strict: bool = False, fit: bool = True, keeps: bool = False
) -> Edit:
    """Return the edit of *fields* beside a prompt."""
    given = [("prompt", "a cat"), *fields]
    return edit_of(given, catalog=OFFER, strict=strict, fit=fit, keeps=keeps)
