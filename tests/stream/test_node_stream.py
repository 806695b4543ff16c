"""OpenAI's npm package reads streams: a long wait, errors before and after the first byte."""

import json
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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

pytestmark = [
    pytest.mark.slow,
    needs("node"),
    pytest.mark.timeout(180),  # the package may have to be installed
]

_SCRIPT = Path(__file__).parent / "node" / "stream.mjs"


@pytest.fixture(scope="module")
def shared_gateway() -> Iterator[ThreadedHarness]:
    """A gateway where a task takes 3 real seconds, as twenty-four of its own."""
    with start_threaded_harness(replace(PLAIN, latency=Constant(24.0))) as neighbours:
        yield neighbours


@pytest.fixture(scope="module")
def folder() -> Path:
    package = node_package.installed()
    shutil.copy(_SCRIPT, package)
    return package


def _stream(
    folder: Path, shared_gateway: ThreadedHarness, prompt: str, seconds: float = 60
) -> dict[str, Any]:
    picture = folder / "stream.png"
    picture.write_bytes(photo())
    done = subprocess.run(
        ["node", _SCRIPT.name, shared_gateway.base_url, KEY, picture.name, prompt, str(seconds)],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_stream(folder: Path, shared_gateway: ThreadedHarness) -> None:
    """A loop reads the event of the picture, past all heartbeats."""
    (event,) = _stream(folder, shared_gateway, "node streams")["events"]

    assert event["type"] == "image_edit.completed"
    assert origin_of(b64decode(event["b64_json"])) == origin("node streams", photo())


def test_a_wait_longer_than_its_patience(folder: Path, shared_gateway: ThreadedHarness) -> None:
    """The package stops its clock at the head, which comes with the first heartbeat."""
    (event,) = _stream(folder, shared_gateway, "node waits", seconds=2)["events"]

    assert origin_of(b64decode(event["b64_json"])) == origin("node waits", photo())
    assert len(shared_gateway.tasks("node waits")) == 1


def test_an_error_before_the_first_byte(folder: Path, shared_gateway: ThreadedHarness) -> None:
    """What is known at once has its status, and so its class."""
    result = _stream(folder, shared_gateway, "[sandbox:refuse DataInspectionFailed]")

    assert (result["name"], result["status"]) == ("BadRequestError", 400)
    assert result["code"] == "moderation_blocked"


def test_an_error_after_the_first_byte(folder: Path, shared_gateway: ThreadedHarness) -> None:
    """What fails late is thrown as an APIError with its code."""
    result = _stream(folder, shared_gateway, "[sandbox:fail InternalError.Timeout]")

    assert (result["name"], result["code"]) == ("APIError", "upstream_failed")
    assert result["type"] == "server_error"
