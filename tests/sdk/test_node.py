"""OpenAI's npm package, as it is, over loopback."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.edit import Size
from gateway.imaging.inspect import pixels_of
from gateway.sandbox import Answer, Fault
from tests.harness import KEY, ThreadedHarness, digest, origin, origin_of, photo
from tests.programs import needs
from tests.sdk import node_package

pytestmark = [
    pytest.mark.slow,
    needs("node"),
    pytest.mark.timeout(180),  # the package may have to be installed
]


@pytest.fixture(scope="module", autouse=True)
def _package() -> None:
    node_package.installed()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    file.write_bytes(photo())
    return file


def _edit(
    shared_gateway: ThreadedHarness, picture: Path, how: str, key: str = KEY
) -> dict[str, Any]:
    return node_package.edit(shared_gateway.base_url, key, picture, how)


@pytest.mark.parametrize("how", ["file", "untyped", "stream"])
def test_one_image(shared_gateway: ThreadedHarness, picture: Path, how: str) -> None:
    """toFile, with a type or without, and a read stream in chunks: the edit is of these bytes."""
    result = _edit(shared_gateway, picture, how)

    (pictures,) = result["pictures"]
    assert origin_of(b64decode(pictures)) == origin(f"node: {how}", photo())
    assert result["edit"].startswith("edit_")
    assert result["request"].startswith("req_")


def test_list(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """Two pictures in, two out."""
    result = _edit(shared_gateway, picture, "list")

    assert len(result["pictures"]) == 2
    (task,) = shared_gateway.tasks("node: list")
    assert (task["n"], task["inputs_sha256"]) == (2, [digest(photo())] * 2)


def test_generation(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """images.generate makes pictures of a prompt alone, of the size asked for."""
    result = _edit(shared_gateway, picture, "generate")

    assert [pixels_of(b64decode(pictures)) for pictures in result["pictures"]] == [
        Size(768, 768)
    ] * 2
    (task,) = shared_gateway.tasks("node: generate")
    assert (task["model"], task["n"]) == ("wan2.5-t2i-preview", 2)


def test_options(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """DashScope's own options may stand among OpenAI's."""
    _edit(shared_gateway, picture, "extra")

    (task,) = shared_gateway.tasks("node: extra")
    assert (task["seed"], task["size"]) == (7, [768, 768])


def test_refused(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """A bad field is a BadRequestError with its param and code."""
    result = _edit(shared_gateway, picture, "refused")

    assert result["name"] == "BadRequestError"
    assert (result["status"], result["code"], result["param"]) == (400, "invalid_value", "n")
    assert result["message"].startswith("400 ")
    assert result["request"].startswith("req_")


def test_wrong_key(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """A wrong key is an AuthenticationError."""
    result = _edit(shared_gateway, picture, "file", key="wk-nobody")

    assert (result["name"], result["code"]) == ("AuthenticationError", "invalid_api_key")


def test_upstream_refuses(shared_gateway: ThreadedHarness, picture: Path) -> None:
    """What DashScope's safety system refuses is a BadRequestError with OpenAI's code."""
    shared_gateway.add_faults(
        Fault("submit", Answer(400, "DataInspectionFailed"), prompt="node: broken")
    )

    result = _edit(shared_gateway, picture, "broken")

    assert (result["name"], result["code"]) == ("BadRequestError", "moderation_blocked")
    assert result["type"] == "image_generation_user_error"
