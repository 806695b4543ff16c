"""Bodies as other clients' libraries write them, sent as they are to the whole app."""

import socket
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.sandbox import read_labels
from tests.harness import KEY, ThreadedHarness, digest

_BODIES = Path(__file__).parents[1] / "data" / "bodies"
_CHUNK = 100


def _wire(name: str) -> bytes:
    """The request as it was captured, with a key and a host, and its chunks framed again."""
    head, _, body = (_BODIES / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        pieces = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    more = (b"host: gateway", b"connection: close", b"authorization: Bearer " + KEY.encode())
    kept = [
        line
        for line in head.split(b"\r\n")
        if line.partition(b":")[0].lower() not in {b"host", b"connection", b"authorization"}
    ]
    return b"\r\n".join((*kept, *more, b"", body))


def _send(shared_gateway: ThreadedHarness, name: str) -> tuple[int, dict[str, Any]]:
    url = httpx.URL(shared_gateway.url)
    with socket.create_connection((url.host, url.port or 80), timeout=60) as wire:
        wire.sendall(_wire(name))
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    values: dict[str, Any] = orjson.loads(body)
    return int(head.split()[1]), values


@pytest.mark.parametrize(
    ("name", "prompt", "n"),
    [
        pytest.param("ai-sdk-one-image", "a hat", 1, id="ai-sdk-one-image"),
        pytest.param("ai-sdk-two-images", "a hat", 1, id="ai-sdk-two-images"),
        pytest.param("curl", "a hat", 1, id="curl"),
        pytest.param("gbk-filename", "a hat", 1, id="gbk-filename"),
        pytest.param("librechat-axios", "a hat", 1, id="librechat"),
        pytest.param("n8n", "a hat", 1, id="n8n"),
        pytest.param("open-webui-aiohttp", "a hät", 1, id="open-webui"),
        pytest.param("openai-node-4", "a hat\nand shoes", 1, id="openai-node-4"),
        pytest.param("openai-node-7-streamed", "a hat", 1, id="openai-node-7"),
        pytest.param("openai-python-generate", "ein Hut 🎩\nbitte", 2, id="openai-python-generate"),
        pytest.param("openai-python-list", "ein Hut 🎩\nbitte", 2, id="openai-python-list"),
        pytest.param("openai-python-no-filename", "a hat", 1, id="openai-python-no-filename"),
        pytest.param("quoted-boundary", "a hat", 1, id="quoted-boundary"),
    ],
)
def test_edit(shared_gateway: ThreadedHarness, name: str, prompt: str, n: int) -> None:
    """Each is an edit or a generation of its prompt, with as many pictures as it asks for."""
    status, reported = _send(shared_gateway, name)

    assert status == 200, reported
    pictures = [b64decode(image["b64_json"]) for image in reported["data"]]
    assert len(pictures) == n
    assert read_labels(pictures[0])["sandbox-prompt-sha256"] == digest(prompt)


def test_a_form_without_files(shared_gateway: ThreadedHarness) -> None:
    """aiohttp writes a form without files in another way: what is missing is told all the same."""
    status, reported = _send(shared_gateway, "aiohttp-without-files")

    assert (status, reported["error"]["code"]) == (400, "missing_required_parameter")
    assert reported["error"]["param"] == "image"


def test_every_body_is_sent() -> None:
    """No captured body is left out here."""
    marks = test_edit.pytestmark  # type: ignore[attr-defined]  # pytest's
    sent = {row.values[0] for row in marks[0].args[1]} | {"aiohttp-without-files"}

    assert sent == {file.stem for file in _BODIES.glob("*.http")}
