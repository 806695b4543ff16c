"""wget, which posts a file and tries again: each try joins the edit that it repeats."""

import json
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

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

pytestmark = [pytest.mark.slow, needs("wget")]


@pytest.fixture
def wget(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Post an edit as JSON; whose picture came."""

    def run(url: str, prompt: str, *more: str) -> tuple[str, str]:
        data = f"data:image/png;base64,{b64encode(photo()).decode()}"
        body, answer = tmp_path / "edit.json", tmp_path / "answer.json"
        body.write_text(json.dumps({"prompt": prompt, "images": [{"image_url": data}]}))
        command = [
            *("wget", "--no-proxy", "--tries=6", "--waitretry=1", *more),
            *("--header", f"Authorization: Bearer {KEY}"),
            *("--header", "Content-Type: application/json", "--post-file", str(body)),
            *("--output-document", str(answer), f"{url}/v1/images/edits"),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        (image,) = json.loads(answer.read_bytes())["data"]
        return origin_of(b64decode(image["b64_json"]))

    return run


@pytest.fixture(scope="module")
def hasty() -> Iterator[ThreadedHarness]:
    """A gateway that keeps nobody waiting for more than 6 s: less than one of ours."""
    server = {"port": 0, "max_wait_seconds": 6}
    with start_threaded_harness(replace(PLAIN, latency=Constant(0.1)), server=server) as found:
        yield found


def test_an_edit(
    shared_gateway: ThreadedHarness, url: str, wget: Callable[..., tuple[str, str]]
) -> None:
    """An edit in JSON, with the picture as a data URL."""
    prompt = f"wget {url}"

    assert wget(url, prompt) == origin(prompt, photo())
    assert len(shared_gateway.tasks(prompt)) == 1


def test_a_broken_connection(
    shared_gateway: ThreadedHarness, wget: Callable[..., tuple[str, str]]
) -> None:
    """A connection that breaks is tried again, and the edit joined."""
    prompt = "wget: broken [sandbox:seconds 24]"

    with cutting(shared_gateway.url, when=lambda: bool(shared_gateway.tasks(prompt))) as cutter:
        result = wget(cutter.url, prompt)

    assert result == origin(prompt, photo())
    assert (cutter.connections, len(shared_gateway.tasks(prompt))) == (2, 1)


def test_our_deadline(hasty: ThreadedHarness, wget: Callable[..., tuple[str, str]]) -> None:
    """--retry-on-http-error=503 asks again after still_running, and has the picture."""
    prompt = "wget: waits [sandbox:seconds 9]"

    result = wget(hasty.url, prompt, "--retry-on-http-error=503")

    assert result == origin(prompt, photo())
    assert len(hasty.tasks(prompt)) == 1
