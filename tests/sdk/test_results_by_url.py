"""Official SDKs get a URL of the gateway's own, and any program downloads the picture from it."""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import openai
import pytest

from gateway.domain.edit import Size
from gateway.imaging.inspect import pixels_of
from gateway.sandbox import Constant
from tests.harness import (
    KEY,
    PLAIN,
    ThreadedHarness,
    origin,
    origin_of,
    photo,
    start_threaded_harness,
)
from tests.programs import needs
from tests.sdk import node_package


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedHarness]:
    """A gateway that keeps pictures in a folder."""
    results = {
        "store": f"folder:{tmp_path_factory.mktemp('results')}",
        "public_url": "host",
        "secret": "env:SECRET",
    }
    environ = {"KEY": "sk-sandbox", "SECRET": "s" * 40}
    config = replace(PLAIN, latency=Constant(0.1))
    with start_threaded_harness(config, results=results, environ=environ) as harness:
        yield harness


@pytest.fixture
def client(keeping: ThreadedHarness) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=keeping.base_url, max_retries=0) as made:
        yield made


def downloaded(url: str | None) -> bytes:
    """Fetch *url* as a program would that knows nothing of the gateway."""
    assert url is not None
    with build_opener(ProxyHandler({})).open(url, timeout=30) as reply:
        assert reply.headers["content-type"] == "image/png"
        content: bytes = reply.read()
        return content


def test_edit(client: openai.OpenAI) -> None:
    """Every picture of an edit has a URL, and nothing else beside it."""
    answer = client.images.edit(image=photo(), prompt="by url", n=2, response_format="url")

    images = answer.data or []
    assert [image.b64_json for image in images] == [None, None]
    pictures = [downloaded(image.url) for image in images]
    assert [origin_of(picture) for picture in pictures] == [origin("by url", photo())] * 2
    assert answer.output_format == "png"


def test_openais_default(client: openai.OpenAI) -> None:
    """dall-e-3 answers a URL unasked; the size is the one that was asked for."""
    answer = client.images.generate(prompt="unasked", model="dall-e-3", size="1024x1024")

    (image,) = answer.data or []
    assert image.b64_json is None
    assert pixels_of(downloaded(image.url)) == Size(1024, 1024)


def test_stream(client: openai.OpenAI) -> None:
    """The completed event of a stream has the URL."""
    events = client.images.edit(
        image=photo(), prompt="streamed", response_format="url", stream=True
    )

    (event,) = list(events)
    assert event.type == "image_edit.completed"
    assert origin_of(downloaded(getattr(event, "url", None))) == origin("streamed", photo())


@pytest.mark.slow
@needs("node")
@pytest.mark.timeout(180)
def test_node(keeping: ThreadedHarness, tmp_path: Path) -> None:
    """OpenAI's npm package gets a URL, which fetch() downloads."""
    node_package.installed()
    picture = tmp_path / "photo.png"
    picture.write_bytes(photo())

    result = node_package.edit(keeping.base_url, KEY, picture, "url")

    (made,) = result["pictures"]
    assert origin_of(b64decode(made)) == origin("node: url", photo())
