"""Programs that use no SDK, with the libraries that they use: aiohttp, requests, axios."""

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.clients import node_packages
from tests.harness import (
    KEY,
    ThreadedHarness,
    digest,
    origin,
    origin_of,
    photo,
    start_harness,
)
from tests.programs import cannot, found

_REQUESTS = Path(__file__).parent / "python" / "by_requests.py"


def _form(prompt: str, *pictures: bytes, model: str = "wan2.5-i2i-preview") -> aiohttp.FormData:
    """The form of Open WebUI's routers/images.py: image for one picture, image[] for a list."""
    form = aiohttp.FormData()
    fields = {"model": model, "prompt": prompt, "n": "1", "response_format": "b64_json"}
    for name, text in fields.items():
        form.add_field(name, text)
    for picture in pictures:
        name = "image" if len(pictures) == 1 else "image[]"
        form.add_field(name, picture, filename="ü u.png", content_type="image/png")
    return form


@pytest.mark.anyio
@pytest.mark.parametrize("pictures", [(photo(),), (photo(1), photo(2))], ids=["one", "a list"])
async def test_open_webui(pictures: tuple[bytes, ...]) -> None:
    """Its form makes the edit, and the answer has b64_json and no url, which it would prefer."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with start_harness() as harness, aiohttp.ClientSession(headers=headers) as session:
        url = f"{harness.url}/v1/images/edits"
        async with session.post(url, data=_form("ein Hüt", *pictures)) as answer:
            body = await answer.json()

        (task,) = (await harness.books())["tasks"]
    assert task["inputs_sha256"] == [digest(picture) for picture in pictures]
    (image,) = body["data"]
    assert set(image) - {"revised_prompt"} == {"b64_json"}
    assert origin_of(b64decode(image["b64_json"])) == origin("ein Hüt", pictures[-1])


@pytest.mark.anyio
async def test_open_webui_shows_the_reason() -> None:
    """All that it shows of an error is the reason of its status, which says the kind."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with start_harness() as harness, aiohttp.ClientSession(headers=headers) as session:
        url = f"{harness.url}/v1/images/edits"
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            async with session.post(url, data=_form("", photo())) as answer:
                answer.raise_for_status()

    assert (caught.value.status, caught.value.message) == (400, "Bad Request")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("image", id="repeated-image"),
        pytest.param("image[]", id="a-list"),
        pytest.param("image[{}]", id="numbered"),
    ],
)
def test_requests(shared_gateway: ThreadedHarness, picture: Path, name: str) -> None:
    """requests writes no Content-Type to a file: what it is, its bytes say."""
    prompt = f"requests: {name}"

    answer = json.loads(
        subprocess.run(
            [
                sys.executable,
                str(_REQUESTS),
                shared_gateway.base_url,
                KEY,
                str(picture),
                name,
                prompt,
            ],
            check=True,
            capture_output=True,
            timeout=120,
        ).stdout
    )

    (image,) = answer["data"]
    assert origin_of(b64decode(image["b64_json"])) == origin(prompt, photo())
    (task,) = shared_gateway.tasks(prompt)
    assert task["inputs_sha256"] == [digest(photo())] * 2


@pytest.fixture
def librechat(picture: Path) -> Callable[[str, str], dict[str, Any]]:
    if found("node") is None:
        cannot("Node is not installed")
    node_packages.installed()

    def edit_request(base_url: str, prompt: str) -> dict[str, Any]:
        order = {"base_url": base_url, "key": KEY, "prompt": prompt}
        return node_packages.run("librechat.mjs", images=[str(picture)], **order)

    return edit_request


@pytest.mark.slow
@pytest.mark.timeout(180)  # the packages may have to be installed
def test_librechat(
    shared_gateway: ThreadedHarness, librechat: Callable[[str, str], dict[str, Any]]
) -> None:
    """Its form makes the edit, and it finds the picture where it looks for it."""
    (pictures,) = librechat(shared_gateway.base_url, "librechat")["pictures"]

    assert origin_of(b64decode(pictures)) == origin("librechat", photo())


@pytest.mark.slow
@pytest.mark.timeout(180)  # the packages may have to be installed
def test_librechat_shows_the_status(
    shared_gateway: ThreadedHarness, librechat: Callable[[str, str], dict[str, Any]]
) -> None:
    """axios tells its user the status, and hands the program our words."""
    reported = librechat(shared_gateway.base_url, "[sandbox:refuse DataInspectionFailed]")

    assert reported["message"] == "Request failed with status code 400"
    assert reported["body"]["error"]["code"] == "moderation_blocked"
