"""The documents' own commands, typed against the real gateway before a simulated region."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ENGLISH, REFERENCE, ROOT, blocks
from tests.ports import free_port
from tests.programs import cannot, found

pytestmark = pytest.mark.slow

_PHOTO = "gateway/commands/photo.jpg"
_NO_PROXY = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class ReadmeHarness:
    """Where the gateway listens, and a folder that looks like a checkout to the snippets."""

    port: int
    folder: Path

    def for_this_gateway(self, text: str) -> str:
        """Return *text* of the README as it is meant for this gateway."""
        return text.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **_NO_PROXY},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadmeHarness]:
    """Type the two commands of "Without a key", on other ports and at another speed."""
    first, second = (
        block.text.strip() for block in blocks(ENGLISH, "sh") if "sandbox" in block.text
    )
    beijing, singapore, port = (free_port() for _ in range(3))
    variables, _, serve = second.replace(":8001/", f":{beijing}/").partition("wan-gateway ")
    environ = dict(pair.split("=", 1) for pair in variables.split())
    sandbox, _, _ = first.removeprefix("wan-gateway ").partition(" ")
    ports = ["--beijing-port", str(beijing), "--singapore-port", str(singapore), "--speed", "40"]
    folder = tmp_path_factory.mktemp("checkout")
    (folder / _PHOTO).parent.mkdir(parents=True)
    shutil.copy(ROOT / _PHOTO, folder / _PHOTO)
    with ExitStack() as stack:
        stack.enter_context(_gateway([sandbox, *ports], {}, tmp_path_factory.mktemp("region")))
        stack.enter_context(
            _gateway([serve, "--port", str(port)], environ, tmp_path_factory.mktemp("state"))
        )
        harness = ReadmeHarness(port, folder)
        # Both: an edit before there is a region would be told that nobody can be reached.
        harness.run(*_LISTENS.split(), f"http://127.0.0.1:{beijing}/")
        harness.run(*_LISTENS.split(), "--fail", f"http://127.0.0.1:{port}/readyz")
        yield harness


_LISTENS = "curl -sS --retry 100 --retry-connrefused --retry-delay 1 --max-time 40"


@contextmanager
def _gateway(command: list[str], environ: dict[str, str], folder: Path) -> Iterator[None]:
    """Run a verb for the length of the block; SIGTERM has to end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *command],
        cwd=folder,
        env={**os.environ, **environ, **_NO_PROXY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def _curl() -> None:
    if found("curl") is None:
        cannot("this machine has no curl")


def _is_picture(data: bytes) -> bool:
    return data.startswith(b"\x89PNG\r\n\x1a\n")


def test_the_edit_by_curl(harness: ReadmeHarness) -> None:
    """The first curl command brings a picture."""
    command = next(block for block in blocks(ENGLISH, "sh") if "answer.json http" in block.text)

    harness.run("bash", "-euc", harness.for_this_gateway(command.text))

    answer = json.loads((harness.folder / "answer.json").read_bytes())
    assert _is_picture(base64.b64decode(answer["data"][0]["b64_json"]))


def test_collecting_by_curl(harness: ReadmeHarness) -> None:
    """
    An edit is begun without waiting, looked at and cancelled by the documented commands.

    On a busy machine it has ended before it is looked at, and then its pictures come.
    """
    command = next(
        block for block in blocks(DOCS / "retries.md", "sh") if "respond-async" in block.text
    )

    output = harness.run("bash", "-euc", harness.for_this_gateway(command.text))

    body = json.loads(output)
    assert body["object"] == "image.edit"
    answer = json.loads((harness.folder / "answer.json").read_bytes())
    if "data" in answer:
        assert _is_picture(base64.b64decode(answer["data"][0]["b64_json"]))
    else:
        assert answer.get("id") == body["id"], answer


def test_the_operators_pages(harness: ReadmeHarness) -> None:
    """The process lives, is ready, and shows its numbers."""
    command = next(
        block for block in blocks(REFERENCE / "cli.md", "sh") if "/healthz" in block.text
    )

    output = harness.run("bash", "-euc", harness.for_this_gateway(command.text))

    assert '{"status":"ok"}' in output
    assert '{"status":"ready"}' in output
    assert "wan_gateway_build_info" in output


def test_the_edit_by_python(harness: ReadmeHarness) -> None:
    """The Python snippet saves a picture."""
    (snippet,) = blocks(ENGLISH, "python")
    (harness.folder / "edit.py").write_text(harness.for_this_gateway(snippet.text))

    harness.run(sys.executable, "edit.py")

    assert _is_picture((harness.folder / "sunset.png").read_bytes())


def test_the_snippet_for_node_is_one(harness: ReadmeHarness) -> None:
    """Node can parse its snippet; tests with the npm package run it."""
    if found("node") is None:
        cannot("this machine has no Node")
    (snippet,) = blocks(DOCS / "quickstart.md", "js")
    (harness.folder / "edit.mjs").write_text(harness.for_this_gateway(snippet.text))

    harness.run("node", "--check", "edit.mjs")
