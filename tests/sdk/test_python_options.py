"""The openai package asks for what some of DashScope's models can, through the whole gateway."""

from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import openai
import pytest
from PIL import Image

from tests.harness import KEY, ThreadedHarness, photo


@pytest.fixture
def client(shared_gateway: ThreadedHarness) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=shared_gateway.base_url, max_retries=0) as made:
        yield made


def opened(answer: Any) -> Image.Image:
    return Image.open(BytesIO(b64decode(answer.data[0].b64_json or "")))


def test_a_transparent_background(client: openai.OpenAI) -> None:
    """A model that makes it is asked in words, and what comes has an alpha channel."""
    raw = client.images.with_raw_response.generate(
        prompt="a bicycle", model="qwen-image-2.1-pro", background="transparent"
    )

    assert opened(raw.parse()).mode in {"RGBA", "LA"}
    assert "background" not in raw.headers.get("x-wan-adjusted", "")
    assert "background" not in raw.headers.get("x-wan-ignored-params", "")


def test_what_ignores_a_size_is_scaled_and_told(client: openai.OpenAI) -> None:
    """qwen-image-3.0 edits at a size of its own: the answer is as asked, and says so."""
    raw = client.images.with_raw_response.edit(
        image=photo(), prompt="a hat", model="qwen-image-3.0", size="1024x1024"
    )

    came, arrow, wanted = raw.headers["x-wan-adjusted"].rpartition("size:")[2].partition("->")
    assert (arrow, wanted) == ("->", "1024x1024")
    assert came != wanted
    assert opened(raw.parse()).size == (1024, 1024)


def test_a_size_that_was_left_at_the_url_is_told(client: openai.OpenAI) -> None:
    """DashScope's own URL leads to the picture as it came, and its size is told."""
    raw = client.images.with_raw_response.edit(
        image=photo(),
        prompt="a hat by url",
        model="qwen-image-3.0",
        size="1024x1024",
        response_format="url",
    )

    size = raw.headers["x-wan-adjusted"].rpartition("size:")[2]
    assert size
    assert size != "1024x1024"


def test_the_prompt_that_was_used(client: openai.OpenAI) -> None:
    """Where DashScope rewrote the prompt and tells so, the answer has it."""
    rewritten = client.images.edit(image=photo(), prompt="a hat, rewritten")
    as_sent = client.images.edit(
        image=photo(), prompt="a hat, as sent", extra_body={"prompt_extend": False}
    )

    assert rewritten.data
    assert "a hat, rewritten" in (rewritten.data[0].revised_prompt or "")
    assert as_sent.data
    assert as_sent.data[0].revised_prompt is None


def test_boxes_and_thinking(client: openai.OpenAI) -> None:
    """Options of wan2.7 go up, by extra_body as JSON and as text."""
    boxes = [[[10, 20, 110, 220]]]
    edited = client.images.with_raw_response.edit(
        image=photo(), prompt="here", model="wan2.7-image", extra_body={"bbox_list": str(boxes)}
    )
    made = client.images.with_raw_response.generate(
        prompt="there", model="wan2.7-image", complexity="low", extra_body={"thinking_mode": True}
    )

    assert "x-wan-ignored-params" not in edited.headers
    assert "x-wan-ignored-params" not in made.headers
