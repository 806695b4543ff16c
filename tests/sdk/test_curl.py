"""curl over loopback: forms that ask before they send, chunks, and JSON."""

import json
import subprocess
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from tests.harness import KEY, ThreadedHarness, digest, origin, origin_of, photo
from tests.programs import needs

pytestmark = needs("curl")


def _curl(
    shared_gateway: ThreadedHarness, *more: str, body: bytes = b""
) -> tuple[str, dict[str, Any]]:
    """What curl said of the wire, and the JSON of the answer."""
    done = subprocess.run(
        [
            *("curl", "--silent", "--verbose", "--noproxy", "*"),
            *("--header", f"Authorization: Bearer {KEY}"),
            *(*more, f"{shared_gateway.base_url}/images/edits"),
        ],
        input=body,
        check=True,
        capture_output=True,
        timeout=120,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.stderr.decode("utf-8", "replace"), answer


def _picture(values: dict[str, Any]) -> bytes:
    (image,) = values["data"]
    return b64decode(image["b64_json"])


def _noise() -> bytes:
    """A picture of over 1 MB, from which on curl asks before it sends."""
    file = BytesIO()
    size = (700, 700)
    Image.frombytes("RGB", size, Random(0).randbytes(3 * size[0] * size[1])).save(file, "PNG")
    return file.getvalue()


def test_expect_100_continue(shared_gateway: ThreadedHarness, tmp_path: Path) -> None:
    """A large form that waits for 100 Continue gets it, and arrives byte for byte."""
    sent = _noise()
    (tmp_path / "noise.png").write_bytes(sent)

    wire, result = _curl(
        shared_gateway,
        *("--form", f"image=@{tmp_path}/noise.png"),
        *("--form", "prompt=curl: large", "--form", "size=768x768"),
    )

    assert len(sent) > 1_000_000
    assert "> Expect: 100-continue" in wire
    assert "< HTTP/1.1 100 Continue" in wire
    assert origin_of(_picture(result)) == origin("curl: large", sent)


def test_refused_before_the_body(shared_gateway: ThreadedHarness, tmp_path: Path) -> None:
    """A body that is too large is refused while curl still asks whether to send it."""
    (tmp_path / "large.png").write_bytes(bytes(6_000_000))

    wire, result = _curl(
        shared_gateway, "--form", f"image=@{tmp_path}/large.png", "--form", "prompt=a"
    )

    assert "< HTTP/1.1 413" in wire
    assert "100 Continue" not in wire
    assert result["error"]["code"] == "request_too_large"


def test_chunked(shared_gateway: ThreadedHarness, tmp_path: Path) -> None:
    """A form without a length, in chunks, is read to its end."""
    (tmp_path / "photo.png").write_bytes(photo())

    wire, result = _curl(
        shared_gateway,
        *("--header", "Transfer-Encoding: chunked"),
        *("--form", f"image=@{tmp_path}/photo.png", "--form", "prompt=curl: chunked"),
    )

    assert "> Content-Length" not in wire
    assert origin_of(_picture(result)) == origin("curl: chunked", photo())


def test_json(shared_gateway: ThreadedHarness) -> None:
    """JSON with a data URL for each picture."""
    body = {
        "prompt": "curl: json",
        "images": [
            {"image_url": f"data:image/png;base64,{b64encode(photo(shade)).decode()}"}
            for shade in (1, 2)
        ],
        "size": "768x768",
    }

    _, result = _curl(
        shared_gateway,
        *("--header", "Content-Type: application/json", "--data-binary", "@-"),
        body=json.dumps(body).encode(),
    )

    assert origin_of(_picture(result)) == origin("curl: json", photo(2))
    (task,) = shared_gateway.tasks("curl: json")
    assert task["inputs_sha256"] == [digest(photo(1)), digest(photo(2))]


def test_api_key_header(shared_gateway: ThreadedHarness, tmp_path: Path) -> None:
    """The key may come as api-key, which goes before Authorization."""
    (tmp_path / "photo.png").write_bytes(photo())

    _, result = _curl(
        shared_gateway,
        *("--header", "api-key: wk-nobody"),
        *("--form", f"image=@{tmp_path}/photo.png", "--form", "prompt=curl: key"),
    )

    assert result["error"]["code"] == "invalid_api_key"
