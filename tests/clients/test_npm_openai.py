"""OpenAI's npm packages, the last 4 and the last 7, as they are."""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox import Constant
from tests.clients import node_packages
from tests.clients.cutter import cutting
from tests.harness import (
    KEY,
    PLAIN,
    ThreadedHarness,
    digest,
    origin,
    origin_of,
    photo,
    start_threaded_harness,
)
from tests.programs import needs

pytestmark = [
    pytest.mark.slow,
    needs("node"),
    pytest.mark.timeout(180),  # the packages may have to be installed
]

_BOTH = pytest.mark.parametrize("package", ["openai-4", "openai-7"])


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    node_packages.installed()


@pytest.fixture
def brief() -> Iterator[ThreadedHarness]:
    """A gateway that waits 12 s for a silent body: a second and a half of ours."""
    with start_threaded_harness(
        replace(PLAIN, latency=Constant(0.1)), server={"port": 0, "idle_body_seconds": 12}
    ) as found:
        yield found


def _edit(base_url: str, package: str, *images: Path, **order: Any) -> dict[str, Any]:
    fields = {"base_url": base_url, "key": KEY, "package": package, **order}
    return node_packages.run("openai_edit.mjs", images=[str(image) for image in images], **fields)


@_BOTH
def test_an_edit(shared_gateway: ThreadedHarness, picture: Path, package: str) -> None:
    """The picture is of just these bytes and this prompt, whose line's end was CRLF on its way."""
    result = _edit(shared_gateway.base_url, package, picture, prompt=f"{package}\nline")

    (pictures,) = result["pictures"]
    assert origin_of(b64decode(pictures)) == origin(f"{package}\nline", photo())


@_BOTH
def test_several(shared_gateway: ThreadedHarness, picture: Path, package: str) -> None:
    """Two pictures in, two out, by one task."""
    result = _edit(
        shared_gateway.base_url,
        package,
        picture,
        picture,
        prompt=f"{package}: several",
        more={"n": 2},
    )

    assert len(result["pictures"]) == 2
    (task,) = shared_gateway.tasks(f"{package}: several")
    assert (task["n"], task["inputs_sha256"]) == (2, [digest(photo())] * 2)


@_BOTH
def test_an_error(shared_gateway: ThreadedHarness, picture: Path, package: str) -> None:
    """A bad field is a BadRequestError with its code and our message."""
    result = _edit(shared_gateway.base_url, package, picture, prompt="node", more={"n": 11})

    assert (result["name"], result["status"], result["code"]) == (
        "BadRequestError",
        400,
        "invalid_value",
    )
    assert result["message"].startswith("400 ")


def test_a_stream(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """7 reads a stream past its heartbeats."""
    prompt = "openai-7: streams [sandbox:seconds 12]"

    result = _edit(
        shared_gateway.base_url, "openai-7", picture, prompt=prompt, more={"stream": True}
    )

    (event,) = result["events"]
    assert event["type"] == "image_edit.completed"
    assert origin_of(b64decode(event["b64_json"])) == origin(prompt, photo())


def test_a_retry_of_7_joins(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """When its connection breaks, 7 sends the edit again and gets what was begun."""
    prompt = "openai-7: joins [sandbox:seconds 16]"

    with cutting(shared_gateway.url, when=lambda: bool(shared_gateway.tasks(prompt))) as cutter:
        result = _edit(f"{cutter.url}/v1", "openai-7", picture, prompt=prompt)

    (pictures,) = result["pictures"]
    assert origin_of(b64decode(pictures)) == origin(prompt, photo())
    assert cutter.connections == 2
    assert len(shared_gateway.tasks(prompt)) == 1


def test_a_retry_of_4_has_no_body(brief: ThreadedHarness, picture: Path) -> None:
    """4 forgets the body of a retry: it is told 408 soon, and asking again has the picture."""
    prompt = "openai-4: joins [sandbox:seconds 8]"

    with cutting(brief.url, when=lambda: bool(brief.tasks(prompt))) as cutter:
        broken = _edit(
            f"{cutter.url}/v1", "openai-4", picture, prompt=prompt, client={"maxRetries": 1}
        )
    again = _edit(brief.base_url, "openai-4", picture, prompt=prompt)

    assert cutter.connections == 2
    assert (broken["status"], broken["code"]) == (408, "request_timeout")
    (pictures,) = again["pictures"]
    assert origin_of(b64decode(pictures)) == origin(prompt, photo())
    assert len(brief.tasks(prompt)) == 1
