"""The openai package, as it is, asks for pictures of a prompt alone."""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImagesResponse

from gateway.sandbox import Answer, Fault, read_labels
from tests.harness import KEY, ThreadedHarness, digest, origin, origin_of, photo


@pytest.fixture
def client(shared_gateway: ThreadedHarness) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=shared_gateway.base_url, max_retries=0) as sdk:
        yield sdk


def pictures(answer: ImagesResponse) -> list[bytes]:
    return [b64decode(image.b64_json or "") for image in answer.data or []]


def painted(picture: bytes) -> tuple[str, bool]:
    """The prompt's digest, and whether a picture was sent."""
    labels = read_labels(picture)
    return labels["sandbox-prompt-sha256"], "sandbox-input-sha256" in labels


def test_a_picture(client: openai.OpenAI, shared_gateway: ThreadedHarness) -> None:
    """A prompt alone makes a picture, by the default model for that."""
    answer = client.images.generate(prompt="a picture")

    (picture,) = pictures(answer)
    assert painted(picture) == (digest("a picture"), False)
    assert answer.created > 1_700_000_000
    assert (answer.output_format, answer.size) == ("png", "1280x1280")
    (task,) = shared_gateway.tasks("a picture")
    assert (task["model"], task["n"]) == ("wan2.5-t2i-preview", 1)


@pytest.mark.parametrize("model", ["gpt-image-1", "dall-e-3", "wan2.5-t2i-preview", "wan2.6-t2i"])
def test_models(client: openai.OpenAI, shared_gateway: ThreadedHarness, model: str) -> None:
    """OpenAI's names mean the default model, DashScope's own names themselves."""
    prompt = f"by {model}"

    answer = client.images.generate(prompt=prompt, model=model)

    assert painted(pictures(answer)[0]) == (digest(prompt), False)
    (task,) = shared_gateway.tasks(prompt)
    assert task["model"] == (model if model.startswith("wan") else "wan2.5-t2i-preview")


def test_options(client: openai.OpenAI, shared_gateway: ThreadedHarness) -> None:
    """Options of OpenAI and, by extra_body, of DashScope are all in the tasks."""
    raw = client.images.with_raw_response.generate(
        prompt="all options",
        model="gpt-image-1",
        n=6,
        size="1024x1024",
        output_format="jpeg",
        output_compression=80,
        quality="high",
        style="vivid",
        background="opaque",
        moderation="low",
        user="u",
        extra_body={"seed": 42, "watermark": False, "parameters": {"prompt_extend": False}},
    )

    answer = raw.parse()
    got = pictures(answer)
    assert (len(got), answer.size, answer.output_format) == (6, "1024x1024", "jpeg")
    assert all(picture.startswith(b"\xff\xd8\xff") for picture in got)
    listed = set(raw.headers["x-wan-ignored-params"].split(", "))
    assert listed == {"quality", "style", "background", "moderation", "user"}
    assert raw.headers["x-wan-adjusted"] == "size:1280x1280->1024x1024"
    phases = [one.partition(";")[0] for one in raw.headers["server-timing"].split(", ")]
    assert {"read", "submit", "upstream_running", "download"} <= set(phases)
    tasks = sorted(shared_gateway.tasks("all options"), key=lambda task: int(task["seed"]))
    assert [(task["n"], task["seed"]) for task in tasks] == [(4, 42), (2, 46)]
    assert tasks[0]["size"] == [1280, 1280]


def test_url(client: openai.OpenAI) -> None:
    """response_format=url gives an address, and nothing else beside it."""
    answer = client.images.generate(
        prompt="by url", response_format="url", size="1792x1024", model="dall-e-3"
    )

    (image,) = answer.data or []
    assert image.b64_json is None
    assert (image.url or "").startswith("http://127.0.0.1:")


def test_stream(client: openai.OpenAI) -> None:
    """A stream ends with an event of OpenAI's own class for each picture."""
    stream = client.images.generate(
        prompt="streamed", n=2, size="1280x1280", stream=True, partial_images=1
    )

    events = list(stream)

    assert len(events) == 2
    for event in events:
        assert isinstance(event, ImageGenCompletedEvent)
        assert event.type == "image_generation.completed"
        assert painted(b64decode(event.b64_json)) == (digest("streamed"), False)
        assert (event.size, event.output_format) == ("1280x1280", "png")
        assert (event.quality, event.background) == ("auto", "auto")
        assert event.usage.total_tokens == 0


@pytest.mark.parametrize(
    ("requested", "param", "words"),
    [
        pytest.param({"model": "wan2.5-i2i-preview"}, "model", "/v1/images/edits", id="edits"),
        pytest.param({"model": "sdxl"}, "model", "does not exist", id="unknown"),
        pytest.param({"extra_body": {"image": "x"}}, "image", "Invalid URL", id="image"),
        pytest.param({"extra_body": {"image": []}}, "image", "has no picture", id="no-image"),
        pytest.param({"extra_body": {"mask": "x"}}, "mask", "lies on a picture", id="mask"),
        pytest.param({"background": "transparent"}, "background", "transparent", id="clear"),
        pytest.param({"size": "1x9"}, "size", "1:4 to 4:1", id="size"),
        pytest.param({"n": 11}, "n", "1 to 10", id="n"),
        pytest.param({"prompt": "猫" * 2001}, "prompt", "maximum length 2000", id="prompt"),
    ],
)
def test_refused(client: openai.OpenAI, requested: dict[str, Any], param: str, words: str) -> None:
    """What cannot be done is a BadRequestError that names the field and what to do."""
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        client.images.generate(**{"prompt": "a hat", **requested})

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("named", "model", "used"),
    [
        pytest.param("image", openai.omit, "wan2.5-i2i-preview", id="text"),
        pytest.param("image[]", "gpt-image-2", "wan2.5-i2i-preview", id="a list"),
        pytest.param("image_url", "wan2.6-image", "wan2.6-image", id="image_url"),
        pytest.param("image_urls[]", "wan2.6-image", "wan2.6-image", id="image_urls"),
    ],
)
def test_alibabas_dialect(
    client: openai.OpenAI, shared_gateway: ThreadedHarness, named: str, model: Any, used: str
) -> None:
    """A generation that brings a picture is an edit of it, by a model for edits."""
    prompt = f"edit {named}"
    sent: Any = f"data:image/png;base64,{b64encode(photo()).decode()}"
    field = named.removesuffix("[]")
    sent = [sent] if field != named else sent

    answer = client.images.generate(prompt=prompt, model=model, extra_body={field: sent})

    assert origin_of(pictures(answer)[0]) == origin(prompt, photo())
    (task,) = shared_gateway.tasks(prompt)
    assert (task["model"], task["inputs_sha256"]) == (used, [digest(photo())])


def test_alibabas_dialect_as_a_stream(client: openai.OpenAI) -> None:
    """The events of such an edit are those of the path that was asked."""
    stream = client.images.generate(
        prompt="edit, streamed",
        stream=True,
        extra_body={"image": b64encode(photo()).decode()},  # base64 without data: before it
    )

    (event,) = stream

    assert event.type == "image_generation.completed"
    assert origin_of(b64decode(event.b64_json)) == origin("edit, streamed", photo())


def test_a_picture_for_a_model_that_takes_none(client: openai.OpenAI) -> None:
    """A generation that brings a picture is not made without it by a model that cannot edit."""
    with pytest.raises(openai.BadRequestError, match="makes pictures of a prompt alone") as caught:
        client.images.generate(
            prompt="a hat",
            model="wan2.5-t2i-preview",
            extra_body={"image": b64encode(photo()).decode()},
        )

    assert caught.value.param == "model"


def test_an_edit_by_a_model_that_only_generates(client: openai.OpenAI) -> None:
    """An edit sent with a model that takes no pictures is told where that model is."""
    with pytest.raises(openai.BadRequestError, match="/v1/images/generations") as caught:
        client.images.edit(image=photo(), prompt="a hat", model="wan2.5-t2i-preview")

    assert (caught.value.param, caught.value.code) == ("model", "invalid_value")
    assert caught.value.type == "image_generation_user_error"


def test_four_pictures_for_wan26(client: openai.OpenAI, shared_gateway: ThreadedHarness) -> None:
    """wan2.6-image takes four pictures in one message and gives its results in another."""
    sent = [photo(shade) for shade in range(4)]

    answer = client.images.edit(image=sent, prompt="four", model="wan2.6-image", n=2)

    got = pictures(answer)
    assert [origin_of(picture) for picture in got] == [origin("four", photo(3))] * 2
    (task,) = shared_gateway.tasks("four")
    assert task["inputs_sha256"] == [digest(one) for one in sent]
    assert (task["model"], task["n"]) == ("wan2.6-image", 2)
    with pytest.raises(openai.BadRequestError, match="Send 3 at most"):
        client.images.edit(image=sent, prompt="four")


def test_moderation(client: openai.OpenAI, shared_gateway: ThreadedHarness) -> None:
    """What DashScope's safety system refuses has OpenAI's code."""
    shared_gateway.add_faults(Fault("submit", Answer(400, "DataInspectionFailed"), prompt="unfit"))

    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="unfit")

    assert caught.value.code == "moderation_blocked"
