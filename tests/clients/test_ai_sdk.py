"""The AI SDK 7, and 6 for one edit, as it is: generateImage by both of its OpenAI providers."""

from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.clients import node_packages
from tests.clients.cutter import cutting
from tests.harness import KEY, ThreadedHarness, digest, origin, origin_of, photo
from tests.programs import needs

pytestmark = [
    pytest.mark.slow,
    needs("node"),
    pytest.mark.timeout(180),  # the packages may have to be installed
]

_BOTH = pytest.mark.parametrize("provider", ["openai", "compatible"])


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    node_packages.installed()


def _edit(
    shared_gateway: ThreadedHarness, provider: str, *images: Path, **order: Any
) -> dict[str, Any]:
    fields = {"base_url": shared_gateway.base_url, "key": KEY, "provider": provider, **order}
    return node_packages.run("ai_sdk.mjs", images=[str(image) for image in images], **fields)


@_BOTH
@pytest.mark.parametrize("major", [6, 7])
def test_an_edit(shared_gateway: ThreadedHarness, picture: Path, provider: str, major: int) -> None:
    """One picture goes in as `image`, and comes out as a PNG of these bytes and this prompt."""
    prompt = f"ai {provider} {major}"

    result = _edit(shared_gateway, provider, picture, prompt=prompt, major=major)

    (pictures,) = result["pictures"]
    assert origin_of(b64decode(pictures)) == origin(prompt, photo())
    assert result["types"] == ["image/png"]
    assert result["warnings"] == []


@_BOTH
def test_several(shared_gateway: ThreadedHarness, picture: Path, provider: str) -> None:
    """Two pictures in, three out, by one task: both providers ask once for a gpt-image model."""
    prompt = f"ai {provider}: several"

    result = _edit(shared_gateway, provider, picture, picture, prompt=prompt, more={"n": 3})

    assert len(result["pictures"]) == 3
    (task,) = shared_gateway.tasks(prompt)
    assert (task["n"], task["inputs_sha256"]) == (3, [digest(photo())] * 2)


def test_the_name_of_the_model(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """The OpenAI provider asks for each picture alone where it does not know the model."""
    prompt = "ai: by its own name"

    result = _edit(
        shared_gateway, "openai", picture, prompt=prompt, model="wan2.5-i2i-preview", more={"n": 3}
    )

    assert len(result["pictures"]) == 3
    assert [task["n"] for task in shared_gateway.tasks(prompt)] == [1, 1, 1]


@_BOTH
def test_a_mask(shared_gateway: ThreadedHarness, picture: Path, mask: Path, provider: str) -> None:
    """What the mask protects is in the result, pixel by pixel; the rest is not."""
    result = _edit(shared_gateway, provider, picture, prompt=f"ai {provider}: mask", mask=str(mask))

    (pictures,) = result["pictures"]
    before, after = (
        Image.open(BytesIO(one)).convert("RGB") for one in (photo(), b64decode(pictures))
    )
    assert after.size == before.size
    kept, edited = (0, 0, 190, 400), (210, 0, 400, 400)
    assert after.crop(kept).tobytes() == before.crop(kept).tobytes()
    assert after.crop(edited).tobytes() != before.crop(edited).tobytes()


@_BOTH
def test_options(shared_gateway: ThreadedHarness, picture: Path, provider: str) -> None:
    """Size and seed; the providers' own options arrive as plain fields."""
    prompt = f"ai {provider}: options"
    name = {"openai": "openai", "compatible": "wan"}[provider]
    options = {"openai": {"quality": "high"}, "compatible": {"seed": 7, "watermark": False}}
    more = {"size": "1024x1024", "providerOptions": {name: options[provider]}}

    result = _edit(shared_gateway, provider, picture, prompt=prompt, more=more)

    assert len(result["pictures"]) == 1
    (task,) = shared_gateway.tasks(prompt)
    assert task["size"] == [1024, 1024]
    assert task["seed"] == {"openai": None, "compatible": 7}[provider]


@_BOTH
def test_an_error(shared_gateway: ThreadedHarness, picture: Path, provider: str) -> None:
    """What is final comes at once, with the gateway's message as its own."""
    result = _edit(shared_gateway, provider, picture, prompt="ai", model="dall-e-9")

    assert (result["name"], result["status"]) == ("AI_APICallError", 400)
    assert "dall-e-9" in result["message"]


@_BOTH
def test_a_retry_joins(shared_gateway: ThreadedHarness, picture: Path, provider: str) -> None:
    """When its connection breaks it sends the edit again, unmarked, and gets what was begun."""
    prompt = f"ai {provider}: joins [sandbox:seconds 40]"

    with cutting(shared_gateway.url, when=lambda: bool(shared_gateway.tasks(prompt))) as cutter:
        result = _edit(
            shared_gateway, provider, picture, prompt=prompt, base_url=f"{cutter.url}/v1"
        )

    (pictures,) = result["pictures"]
    assert origin_of(b64decode(pictures)) == origin(prompt, photo())
    assert cutter.connections == 2
    assert len(shared_gateway.tasks(prompt)) == 1


def test_it_repeats_what_is_final(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """
    It does not know x-should-retry, so a 500 is asked for three times whatever it says.

    Where something may have been paid it is told three times, and made once.
    """
    prompt = "ai: often [sandbox:unknown]"

    result = _edit(shared_gateway, "openai", picture, prompt=prompt)

    assert (result["name"], result["reason"]) == ("AI_RetryError", "maxRetriesExceeded")
    assert result["last"]["status"] == 500
    assert len(shared_gateway.tasks(prompt)) == 1
