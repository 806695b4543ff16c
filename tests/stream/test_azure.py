"""Azure's client, as it is: deployments, api-key and api-version (openai.md 5.5)."""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.harness import (
    KEY,
    PLAIN,
    ThreadedHarness,
    origin,
    origin_of,
    photo,
    start_threaded_harness,
)


@pytest.fixture(scope="module")
def shared_gateway() -> Iterator[ThreadedHarness]:
    with start_threaded_harness(PLAIN) as neighbours:
        yield neighbours


def _azure(shared_gateway: ThreadedHarness, **more: Any) -> openai.AzureOpenAI:
    named: dict[str, Any] = {"api_version": "2025-04-01-preview", "max_retries": 0, **more}
    return openai.AzureOpenAI(azure_endpoint=shared_gateway.url, api_key=KEY, **named)


@pytest.mark.parametrize(
    ("client", "requested"),
    [
        pytest.param({}, {"model": "gpt-image-1"}, id="model"),
        pytest.param({}, {}, id="no-model"),
        pytest.param({"azure_deployment": "gpt-image-1"}, {"model": "dep1"}, id="deployment"),
        pytest.param({"azure_deployment": "dep1"}, {"model": "gpt-image-1"}, id="model-first"),
    ],
)
def test_an_edit(
    shared_gateway: ThreadedHarness, client: dict[str, Any], requested: dict[str, Any]
) -> None:
    """However a deployment is named, the edit is made."""
    with _azure(shared_gateway, **client) as azure:
        answer = azure.images.edit(image=photo(), prompt="azure", **requested)

    (image,) = answer.data or []
    assert origin_of(b64decode(image.b64_json or "")) == origin("azure", photo())


@pytest.mark.parametrize(
    "client",
    [pytest.param({}, id="model"), pytest.param({"azure_deployment": "gpt-image-1"}, id="path")],
)
def test_a_generation(shared_gateway: ThreadedHarness, client: dict[str, Any]) -> None:
    """A deployment makes pictures of a prompt alone, streamed or not."""
    with _azure(shared_gateway, **client) as azure:
        answer = azure.images.generate(prompt="azure", model="gpt-image-1")
        events = list(azure.images.generate(prompt="azure", model="gpt-image-1", stream=True))

    assert len(answer.data or []) == 1
    assert [event.type for event in events] == ["image_generation.completed"]


def test_a_stream(shared_gateway: ThreadedHarness) -> None:
    """Azure's client streams like OpenAI's."""
    with _azure(shared_gateway) as azure:
        events = list(
            azure.images.edit(image=photo(), prompt="azure", model="gpt-image-1", stream=True)
        )

    assert [event.type for event in events] == ["image_edit.completed"]


def test_an_unknown_deployment(shared_gateway: ThreadedHarness) -> None:
    """A deployment that is not a model is a BadRequestError that names it."""
    with (
        _azure(shared_gateway) as azure,
        pytest.raises(openai.BadRequestError, match="dep1") as caught,
    ):
        azure.images.edit(image=photo(), prompt="azure", model="dep1")

    assert (caught.value.code, caught.value.param) == ("invalid_value", "model")


def test_a_wrong_key(shared_gateway: ThreadedHarness) -> None:
    """A wrong api-key is an AuthenticationError."""
    with (
        _azure(shared_gateway).with_options(api_key="wk-nobody") as azure,
        pytest.raises(openai.AuthenticationError),
    ):
        azure.images.edit(image=photo(), prompt="azure", model="gpt-image-1")


def test_models(shared_gateway: ThreadedHarness) -> None:
    """The list of models is where Azure's client looks for it."""
    with _azure(shared_gateway) as azure:
        assert "gpt-image-1" in [model.id for model in azure.models.list()]


def test_the_v1_surface(shared_gateway: ThreadedHarness) -> None:
    """Azure's newer paths take the plain client."""
    base_url = f"{shared_gateway.url}/openai/v1/"
    query = {"api-version": "preview"}
    with openai.OpenAI(api_key=KEY, base_url=base_url, default_query=query) as client:
        answer = client.images.edit(image=photo(), prompt="azure", model="gpt-image-1")

    assert len(answer.data or []) == 1


def test_the_endpoint_as_base_url(shared_gateway: ThreadedHarness) -> None:
    """Whoever gives the whole endpoint as the base URL reads what to give."""
    base_url = f"{shared_gateway.url}/v1/images/edits"
    with (
        openai.OpenAI(api_key=KEY, base_url=base_url) as client,
        pytest.raises(openai.NotFoundError, match="set the base_url") as caught,
    ):
        client.images.edit(image=photo(), prompt="lost")

    assert caught.value.code == "unknown_url"


@pytest.mark.filterwarnings("ignore:deprecated")
def test_variations(shared_gateway: ThreadedHarness) -> None:
    """Variations are gone, and say so."""
    with (
        openai.OpenAI(api_key=KEY, base_url=shared_gateway.base_url) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.images.create_variation(image=photo())

    assert (caught.value.status_code, caught.value.code) == (410, "gone")
