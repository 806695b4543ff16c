"""What OpenAI has taken out of its API."""

from starlette.requests import Request
from starlette.types import ASGIApp

from gateway.domain.errors import Gone


async def variations(_: Request) -> ASGIApp:
    """
    Answer nothing.

    Raises:
        Gone: always.
    """
    raise Gone(
        "Image variations are no longer made, by OpenAI or here. Send the image to "
        "/v1/images/edits with a prompt that says what to vary."
    )
