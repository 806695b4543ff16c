"""Every model of the table, by the openai package as it is."""

from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image

from gateway.domain.models import Operation
from tests.harness import KEY, PLAIN, ThreadedHarness, photo, start_threaded_harness
from tests.models import MODELS, TABLE, is_snapshot

PAIRS = [
    pytest.param(name, operation, id=f"{operation}-{name}")
    for operation in Operation
    for name in TABLE.that_do(operation)
    if not is_snapshot(name) or name == "qwen-image-2.0-pro-2026-06-22"
]


@pytest.fixture
def client(shared_gateway: ThreadedHarness) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=shared_gateway.base_url, max_retries=0) as made:
        yield made


def make(client: openai.OpenAI, operation: Operation, **fields: Any) -> ImagesResponse:
    answer: ImagesResponse
    if operation is Operation.GENERATE:
        answer = client.images.generate(**fields)
    else:
        answer = client.images.edit(image=("a.png", photo(), "image/png"), **fields)
    return answer


def pictures(answer: ImagesResponse) -> list[bytes]:
    return [b64decode(image.b64_json or "") for image in answer.data or []]


@pytest.mark.parametrize(("name", "operation"), PAIRS)
def test_two_pictures_of_the_size_asked_for(
    client: openai.OpenAI, shared_gateway: ThreadedHarness, name: str, operation: Operation
) -> None:
    """Each model makes the number of pictures that is asked for, and no more, of the size asked."""
    prompt = f"{operation} by {name}"

    answer = make(client, operation, model=name, prompt=prompt, n=2, size="1024x1024")

    sizes = []
    for picture in pictures(answer):
        with Image.open(BytesIO(picture)) as opened:
            sizes.append(opened.size)
    assert sizes == [(1024, 1024)] * 2
    tasks = shared_gateway.tasks(prompt)
    assert {task["model"] for task in tasks} == {name}
    assert sum(task["images_billed"] for task in tasks) == 2
    assert len(tasks) == 2 // min(2, MODELS[name].most_made)


@pytest.mark.parametrize("operation", [*Operation])
def test_nothing_dear_is_made_unasked(
    client: openai.OpenAI, shared_gateway: ThreadedHarness, operation: Operation
) -> None:
    """Without a size qwen-image-3.0-pro is asked for one of its lower price."""
    prompt = f"{operation} of no size"

    make(client, operation, model="qwen-image-3.0-pro", prompt=prompt)

    (task,) = shared_gateway.tasks(prompt)
    assert task["size"] == [1488, 1488]


@pytest.mark.parametrize(
    ("name", "param", "value"),
    [
        ("wan2.7-image", "negative_prompt", "blur"),
        ("wan2.7-image", "prompt_extend", True),
        ("qwen-image-2.1-turbo", "seed", 1),
        ("z-image-turbo", "watermark", True),
    ],
)
def test_what_a_model_has_not(client: openai.OpenAI, name: str, param: str, value: object) -> None:
    """A parameter of DashScope's that the model does not have is 400 by name, and costs nothing."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model=name, prompt="a cat", extra_body={param: value})

    assert caught.value.param == param
    assert f"The model '{name}' has no '{param}'." in str(caught.value)


def test_a_prompt_by_tokens(client: openai.OpenAI) -> None:
    """Where DashScope cuts after so many tokens, a longer prompt is refused, a long one is not."""
    fits = client.images.generate(model="qwen-image-max", prompt="lamp " * 799)
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="qwen-image-max", prompt="灯" * 801)

    assert len(pictures(fits)) == 1
    assert (caught.value.param, caught.value.code) == ("prompt", "string_above_max_length")
    assert "at most 800 tokens, but got one of about 801" in str(caught.value)


def test_a_model_that_a_config_adds() -> None:
    """A model of the config alone edits and generates, with its own limits."""
    name = "wan2.7-image-2027-01-31"
    added = {
        "family": "messages",
        "edits": True,
        "generations": True,
        "images": [0, 2],
        "pixels": [589_824, 4_194_304],
        "options": ["n", "size", "seed"],
    }
    with (
        start_threaded_harness(PLAIN, models={name: added, "aliases": {"ours": name}}) as harness,
        openai.OpenAI(api_key=KEY, base_url=harness.base_url, max_retries=0) as client,
    ):
        for operation in Operation:
            prompt = f"{operation} by the one added"
            answer = make(client, operation, model="ours", prompt=prompt, size="1024x1024")
            assert len(pictures(answer)) == 1
            (task,) = harness.tasks(prompt)
            assert (task["model"], task["n"], task["size"]) == (name, 1, [1024, 1024])
        assert name in {model.id for model in client.models.list()}
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.edit(model=name, prompt="a cat", image=[photo(it) for it in range(3)])
        assert caught.value.param == "image"
