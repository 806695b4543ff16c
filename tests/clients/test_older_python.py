"""The openai packages of former years, as they are: 1.0.0, and the last of 1.x and 2.x."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.clients.cutter import cutting
from tests.clients.python_packages import edit, installed
from tests.harness import KEY, ThreadedHarness, digest, origin, origin_of, photo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),  # the package may have to be installed
]

# 1.0.0 hands httpx an argument that httpx 0.28 no longer knows.
_NEEDS = {"1.0.0": ("httpx<0.28",), "1.109.1": (), "2.54.0": ()}
_ALL = tuple(_NEEDS)
_LATER = _ALL[1:]
"""Those that know several pictures, streams and Azure's deployments of edits."""


@pytest.fixture
def packages(request: pytest.FixtureRequest) -> Path:
    version: str = request.param
    return installed(f"openai-{version}", f"openai=={version}", *_NEEDS[version])


@pytest.fixture
def name(packages: Path) -> str:
    """Of the package, as a beginning for prompts that nobody else sends."""
    return packages.name


def _edit(
    shared_gateway: ThreadedHarness, packages: Path, picture: Path, **order: Any
) -> dict[str, Any]:
    result = edit(
        packages, order.pop("base_url", shared_gateway.base_url), picture, **{"key": KEY, **order}
    )
    assert packages.name == f"openai-{result['version']}"
    return result


@pytest.mark.parametrize("packages", _ALL, indirect=True)
def test_an_edit(shared_gateway: ThreadedHarness, packages: Path, name: str, picture: Path) -> None:
    """The picture is of just these bytes and this prompt, and the options are in the task."""
    prompt = f"{name}: ein Hut 🎩\nbitte"
    fields = {"n": 2, "size": "1024x1024", "extra_body": {"seed": 7}}

    result = _edit(shared_gateway, packages, picture, prompt=prompt, fields=fields)

    assert [origin_of(b64decode(one)) for one in result["pictures"]] == [
        origin(prompt, photo())
    ] * 2
    (task,) = shared_gateway.tasks(prompt)
    assert (task["n"], task["size"], task["seed"]) == (2, [1024, 1024], 7)


@pytest.mark.parametrize("packages", _ALL, indirect=True)
def test_an_error(shared_gateway: ThreadedHarness, packages: Path, picture: Path) -> None:
    """A bad field is a BadRequestError; 1.0.0 tells its code and param only in its text."""
    result = _edit(shared_gateway, packages, picture, prompt="old", fields={"n": 11})

    assert (result["name"], result["status"]) == ("BadRequestError", 400)
    assert "'param': 'n', 'code': 'invalid_value'" in result["text"]
    if "1.0.0" not in packages.name:
        assert (result["code"], result["param"]) == ("invalid_value", "n")


@pytest.mark.parametrize("packages", _ALL, indirect=True)
def test_an_empty_prompt(shared_gateway: ThreadedHarness, packages: Path, picture: Path) -> None:
    """An empty prompt, which 1.x and 2.x leave out of the form, is a missing one."""
    result = _edit(shared_gateway, packages, picture, prompt="")

    assert result["name"] == "BadRequestError"
    assert "'param': 'prompt', 'code': 'missing_required_parameter'" in result["text"]


@pytest.mark.parametrize("packages", _ALL, indirect=True)
def test_a_wrong_key(shared_gateway: ThreadedHarness, packages: Path, picture: Path) -> None:
    """A wrong key is an AuthenticationError."""
    result = _edit(shared_gateway, packages, picture, prompt="old", key="wk-nobody")

    assert result["name"] == "AuthenticationError"
    assert "'code': 'invalid_api_key'" in result["text"]


@pytest.mark.parametrize("packages", _ALL, indirect=True)
def test_a_retry_joins(
    shared_gateway: ThreadedHarness, packages: Path, name: str, picture: Path
) -> None:
    """
    When its connection breaks, the package sends the edit again, and gets what was begun.

    1.0.0 does not mark its retries: it joins since nobody else is connected to that edit.
    """
    prompt = f"{name}: joins [sandbox:seconds 16]"

    with cutting(shared_gateway.url, when=lambda: bool(shared_gateway.tasks(prompt))) as cutter:
        base_url = f"{cutter.url}/v1"
        result = _edit(shared_gateway, packages, picture, prompt=prompt, base_url=base_url)

    (pictures,) = result["pictures"]
    assert origin_of(b64decode(pictures)) == origin(prompt, photo())
    assert cutter.connections == 2
    assert len(shared_gateway.tasks(prompt)) == 1


@pytest.mark.parametrize("packages", _LATER, indirect=True)
def test_several_pictures(
    shared_gateway: ThreadedHarness, packages: Path, name: str, picture: Path
) -> None:
    """A list of pictures is one edit of all of them."""
    prompt = f"{name}: several"

    result = _edit(shared_gateway, packages, picture, prompt=prompt, many=2)

    assert len(result["pictures"]) == 1
    (task,) = shared_gateway.tasks(prompt)
    assert task["inputs_sha256"] == [digest(photo())] * 2


@pytest.mark.parametrize("packages", _LATER, indirect=True)
def test_a_stream(
    shared_gateway: ThreadedHarness, packages: Path, name: str, picture: Path
) -> None:
    """A stream is read past its heartbeats to the picture."""
    prompt = f"{name}: streams [sandbox:seconds 12]"

    result = _edit(shared_gateway, packages, picture, prompt=prompt, fields={"stream": True})

    (event,) = result["events"]
    assert event["type"] == "image_edit.completed"
    assert origin_of(b64decode(event["b64_json"])) == origin(prompt, photo())


@pytest.mark.parametrize("packages", _LATER, indirect=True)
def test_azure(shared_gateway: ThreadedHarness, packages: Path, name: str, picture: Path) -> None:
    """AzureOpenAI finds its deployment; 1.x sends the key twice, which does no harm."""
    prompt = f"{name}: azure"

    result = _edit(
        shared_gateway,
        packages,
        picture,
        prompt=prompt,
        azure=shared_gateway.url,
        fields={"model": "gpt-image-1"},
    )

    (pictures,) = result["pictures"]
    assert origin_of(b64decode(pictures)) == origin(prompt, photo())
