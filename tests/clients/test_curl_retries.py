"""curl's own retries, which bear no mark: each of them joins the edit that it repeats."""

import json
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox import Constant
from tests.clients.cutter import cutting
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

pytestmark = [
    pytest.mark.slow,
    needs("curl"),
]


@pytest.fixture(scope="module")
def hasty() -> Iterator[ThreadedHarness]:
    """A gateway that keeps nobody waiting for more than 6 s: less than one of ours."""
    server = {"port": 0, "max_wait_seconds": 6}
    with start_threaded_harness(replace(PLAIN, latency=Constant(0.1)), server=server) as found:
        yield found


def _curl(url: str, picture: Path, prompt: str, *more: str) -> tuple[int, dict[str, Any]]:
    """How many times curl asked, and the JSON of the answer."""
    done = subprocess.run(
        [
            *("curl", "--silent", "--verbose", "--noproxy", "*", *more),
            *("--header", f"Authorization: Bearer {KEY}"),
            *("--form", f"image=@{picture}", "--form", f"prompt={prompt}"),
            f"{url}/v1/images/edits",
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    answer: dict[str, Any] = json.loads(done.stdout[done.stdout.rindex(b'{"created"') :])
    return done.stderr.count(b"> POST "), answer


def _is_of(values: dict[str, Any], prompt: str) -> bool:
    (image,) = values["data"]
    return origin_of(b64decode(image["b64_json"])) == origin(prompt, photo())


def test_a_broken_connection(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """--retry-all-errors, which repeats a broken connection too."""
    prompt = "curl: broken [sandbox:seconds 24]"

    with cutting(shared_gateway.url, when=lambda: bool(shared_gateway.tasks(prompt))) as cutter:
        requested, result = _curl(cutter.url, picture, prompt, "--retry", "3", "--retry-all-errors")

    assert _is_of(result, prompt)
    assert (requested, len(shared_gateway.tasks(prompt))) == (2, 1)


def test_a_patience_shorter_than_the_task(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """--max-time ends each try; the next one finds the edit where it is."""
    prompt = "curl: hasty [sandbox:seconds 48]"

    requested, result = _curl(
        shared_gateway.url, picture, prompt, "--retry", "5", "--max-time", "2"
    )

    assert _is_of(result, prompt)
    assert requested > 1
    assert len(shared_gateway.tasks(prompt)) == 1


def test_our_deadline(hasty: ThreadedHarness, picture: Path) -> None:
    """--retry takes a 503 still_running, waits as Retry-After says, and has the picture."""
    prompt = "curl: waits [sandbox:seconds 9]"

    requested, result = _curl(hasty.url, picture, prompt, "--retry", "3")

    assert _is_of(result, prompt)
    assert (requested, len(hasty.tasks(prompt))) == (2, 1)
