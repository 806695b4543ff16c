"""The openai package, as it is, over loopback: every way to hand in a picture, every option."""

from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import ImagesResponse

from gateway.sandbox import read_labels
from tests.harness import KEY, ThreadedHarness, digest, origin, origin_of, photo


@pytest.fixture
def client(shared_gateway: ThreadedHarness) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=shared_gateway.base_url, max_retries=0) as sdk:
        yield sdk


def pictures(answer: ImagesResponse) -> list[bytes]:
    return [b64decode(image.b64_json or "") for image in answer.data or []]


def _path(folder: Path) -> Path:
    file = folder / "photo.png"
    file.write_bytes(photo())
    return file


def _named(folder: Path) -> BytesIO:
    file = BytesIO(photo())
    file.name = "photo.png"
    return file


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(_path, id="path"),
        pytest.param(lambda folder: _path(folder).open("rb"), id="open-file"),
        pytest.param(lambda _: photo(), id="bytes"),
        pytest.param(lambda _: BytesIO(photo()), id="bytesio"),
        pytest.param(_named, id="bytesio-with-a-name"),
        pytest.param(lambda _: ("a.png", photo()), id="tuple"),
        pytest.param(lambda _: ("a.png", photo(), "image/png"), id="tuple-with-type"),
        pytest.param(lambda _: ("ü.bin", photo(), "text/plain"), id="tuple-with-a-wrong-type"),
        pytest.param(lambda _: (None, photo(), "image/png"), id="tuple-without-a-name"),
        pytest.param(lambda _: [photo()], id="list-of-one"),
    ],
)
def test_one_image(
    client: openai.OpenAI, tmp_path: Path, image: Any, request: pytest.FixtureRequest
) -> None:
    """However the SDK takes a picture, its edit is made of just these bytes and this prompt."""
    prompt = f"one {request.node.name}"
    handed = image(tmp_path)

    answer = client.images.edit(image=handed, prompt=prompt, size="768x768")

    if hasattr(handed, "close"):
        handed.close()
    (picture,) = pictures(answer)
    assert origin_of(picture) == origin(prompt, photo())
    assert answer.created > 1_700_000_000
    assert (answer.output_format, answer.size) == ("png", "768x768")
    assert answer.usage is None


def test_several_images(client: openai.OpenAI, shared_gateway: ThreadedHarness) -> None:
    """A list of pictures arrives in its order."""
    sent = [photo(1), photo(2, "JPEG"), photo(3, "WEBP")]

    answer = client.images.edit(image=sent, prompt="several")

    (picture,) = pictures(answer)
    expected = [digest(one) for one in sent]
    assert read_labels(picture)["sandbox-inputs-sha256"] == ",".join(expected)
    (task,) = shared_gateway.tasks("several")
    assert task["inputs_sha256"] == expected


def test_options(client: openai.OpenAI, shared_gateway: ThreadedHarness) -> None:
    """Options of OpenAI and, by extra_body, of DashScope are all in the task."""
    answer = client.images.edit(
        image=photo(),
        prompt="options",
        model="gpt-image-1",
        n=2,
        size="1024x1024",
        extra_body={"seed": 42, "watermark": False, "parameters": {"prompt_extend": False}},
    )

    first, second = pictures(answer)
    labels = [read_labels(picture)["sandbox-index"] for picture in (first, second)]
    assert labels == ["0", "1"]
    (task,) = shared_gateway.tasks("options")
    assert (task["n"], task["size"], task["seed"]) == (2, [1024, 1024], 42)
    assert task["model"] == "wan2.5-i2i-preview"


def test_six_pictures(client: openai.OpenAI, shared_gateway: ThreadedHarness) -> None:
    """More pictures than one task makes come from two, together and all different."""
    answer = client.images.edit(image=photo(), prompt="six", n=6)

    got = pictures(answer)
    assert [origin_of(picture) for picture in got] == [origin("six", photo())] * 6
    places = [(labels["sandbox-task"], labels["sandbox-index"]) for labels in map(read_labels, got)]
    assert len(set(places)) == 6
    assert sorted(task["n"] for task in shared_gateway.tasks("six")) in ([2, 4], [3, 3])


def test_url(client: openai.OpenAI) -> None:
    """response_format=url gives an address, and nothing else beside it."""
    answer = client.images.edit(image=photo(), prompt="by url", response_format="url")

    (image,) = answer.data or []
    assert image.b64_json is None
    assert image.url
    assert image.url.startswith("http://127.0.0.1:")


def test_headers(client: openai.OpenAI) -> None:
    """The raw answer tells its request, its edit, its task, its region and its phases."""
    raw = client.images.with_raw_response.edit(
        image=photo(), prompt="headers", quality="high", user="somebody"
    )

    assert raw.status_code == 200
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-wan-region"] == "beijing"
    assert raw.headers["x-wan-edit-id"].startswith("edit_")
    assert raw.headers["x-wan-ignored-params"] == "quality, user"
    assert raw.headers["openai-processing-ms"].isdigit()
    phases = [one.partition(";")[0] for one in raw.headers["server-timing"].split(", ")]
    assert {"read", "submit", "upstream_running", "download"} <= set(phases)
    (picture,) = pictures(raw.parse())
    assert read_labels(picture)["sandbox-task"] == raw.headers["x-wan-task-id"]
    assert raw.parse()._request_id == raw.headers["x-request-id"]


def test_models(client: openai.OpenAI) -> None:
    """The models are listed, and each can be asked for by its name."""
    listed = [model.id for model in client.models.list()]

    assert listed[0] == "wan2.5-i2i-preview"
    assert "gpt-image-1" in listed
    assert client.models.retrieve("gpt-image-1").id == "gpt-image-1"
    assert client.models.retrieve("gpt-image-1").object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("dall-e-9")
    assert caught.value.code == "model_not_found"


def test_a_model_without_tasks(client: openai.OpenAI, shared_gateway: ThreadedHarness) -> None:
    """To the SDK it is a model like any: several pictures, each of its own."""
    prompt = "without tasks"

    answer = client.images.edit(
        model="qwen-image-edit-plus", image=photo(), prompt=prompt, n=7, size="1024x1024"
    )

    result = pictures(answer)
    assert [origin_of(picture) for picture in result] == [origin(prompt, photo())] * 7
    assert len({digest(picture) for picture in result}) == 7
    assert [row["n"] for row in shared_gateway.tasks(prompt)] == [6, 1]
