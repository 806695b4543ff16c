"""Bun and Deno, with their own fetch: OpenAI's npm package and the AI SDK."""

from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.clients import node_packages
from tests.clients.cutter import cutting
from tests.harness import KEY, ThreadedHarness, digest, origin, origin_of, photo
from tests.programs import needs

pytestmark = [
    pytest.mark.slow,
    needs("npm"),
    pytest.mark.timeout(300),  # the packages may have to be installed
]


@pytest.fixture(params=["bun", "deno"])
def runtime(request: pytest.FixtureRequest) -> Sequence[str]:
    """The program, which its npm package brings along for this machine."""
    folder = node_packages.installed() / "node_modules"
    pattern, more = {"bun": ("@oven/*/bin/bun", []), "deno": ("@deno/*/deno", ["run", "-A"])}[
        request.param
    ]
    program, *_ = sorted(folder.glob(pattern))
    return [str(program), *more]


@pytest.mark.parametrize("script", ["openai_edit.mjs", "ai_sdk.mjs"])
def test_an_edit(
    shared_gateway: ThreadedHarness,
    url: str,
    picture: Path,
    runtime: Sequence[str],
    script: str,
) -> None:
    """Two pictures go in as one edit, and the picture of this prompt comes out."""
    prompt = f"{Path(runtime[0]).name} {script} {url}"
    order = {"base_url": f"{url}/v1", "key": KEY, "package": "openai-7", "provider": "openai"}
    images = [str(picture)] * 2

    result = node_packages.run(script, runtime, images=images, prompt=prompt, **order)

    (pictures,) = result["pictures"]
    assert origin_of(b64decode(pictures)) == origin(prompt, photo())
    (task,) = shared_gateway.tasks(prompt)
    assert task["inputs_sha256"] == [digest(photo())] * 2


def test_a_retry_joins(
    shared_gateway: ThreadedHarness, picture: Path, runtime: Sequence[str]
) -> None:
    """When its connection breaks, the SDK sends the edit again and gets what was begun."""
    prompt = f"{Path(runtime[0]).name}: joins [sandbox:seconds 16]"

    with cutting(shared_gateway.url, when=lambda: bool(shared_gateway.tasks(prompt))) as cutter:
        order = {"base_url": f"{cutter.url}/v1", "key": KEY, "package": "openai-7"}
        images = [str(picture)]
        result = node_packages.run(
            "openai_edit.mjs", runtime, images=images, prompt=prompt, **order
        )

    (pictures,) = result["pictures"]
    assert origin_of(b64decode(pictures)) == origin(prompt, photo())
    assert cutter.connections == 2
    assert len(shared_gateway.tasks(prompt)) == 1


def test_a_stream(shared_gateway: ThreadedHarness, picture: Path, runtime: Sequence[str]) -> None:
    """A stream is read past its heartbeats to the picture."""
    prompt = f"{Path(runtime[0]).name}: streams [sandbox:seconds 12]"
    order = {"base_url": shared_gateway.base_url, "key": KEY, "package": "openai-7"}
    more = {"images": [str(picture)], "more": {"stream": True}}

    result = node_packages.run("openai_edit.mjs", runtime, prompt=prompt, **more, **order)

    (event,) = result["events"]
    assert origin_of(b64decode(event["b64_json"])) == origin(prompt, photo())
