"""A request as its fields, and the edit that it means."""

from gateway.domain.edit import Edit
from gateway.domain.models import Catalog, Operation
from gateway.translate.openai_request import edit_of

WAN = "wan2.5-i2i-preview"
MODELS = {WAN: WAN, "gpt-image-1": WAN, "dall-e-2": WAN}
OFFER = Catalog(Operation.EDIT, MODELS, WAN)
PLAIN = Edit(model=WAN, prompt="a cat")


def edit(*fields: tuple[str, str], strict: bool = False, fit: bool = True) -> Edit:
    """Return the edit of *fields* beside a prompt."""
    given = [("prompt", "a cat"), *fields]
    return edit_of(given, catalog=OFFER, strict=strict, fit=fit)
