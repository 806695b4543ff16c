"""One tenant's crowd on real sockets before a real process: the other tenant is served."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from io import BytesIO
from pathlib import Path

import httpx
import orjson
import pytest
from PIL import Image

from tests.harness import KEY, hashed, photo
from tests.process import GatewayProcess, region, tables, until

pytestmark = pytest.mark.slow

_MB = 1_000_000
_LOUD = "wk-loud"
_SLOW_READERS = 12


def _process(folder: Path, region_url: str, **server: object) -> GatewayProcess:
    loud = f"""
        [tenants.loud]
        region = "beijing"
        keys = ["{hashed(_LOUD)}"]
    """
    return GatewayProcess(folder, tables(folder, region_url, **server) + loud)


def _edit(process: GatewayProcess, key: str, picture: bytes, **files: bytes) -> httpx.Response:
    return httpx.post(
        f"{process.url}/v1/images/edits",
        data={"prompt": "make it sepia"},
        files={"image": ("a.png", picture, "image/png"), **files},
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )


def _connect(process: GatewayProcess, head: str, key: str = _LOUD) -> socket.socket:
    """A connection on which a request was begun; little of its answer fits on the way."""
    url = httpx.URL(process.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.settimeout(60)
    connection.connect((url.host, url.port))
    connection.sendall(f"{head}\r\nhost: g\r\nauthorization: Bearer {key}\r\n".encode())
    return connection


def _begun(process: GatewayProcess, announced: int, *, size: int) -> socket.socket:
    """An upload of which *size* bytes come and then nothing; it announces more."""
    connection = _connect(process, "POST /v1/images/edits HTTP/1.1")
    form = b'--B\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    connection.sendall(b"content-type: multipart/form-data; boundary=B\r\n")
    connection.sendall(b"content-length: %d\r\n\r\n" % announced + form + bytes(size - len(form)))
    return connection


def _metric(process: GatewayProcess, name: str) -> float:
    page = httpx.get(f"{process.url}/metrics", timeout=60, trust_env=False).text
    (line,) = (line for line in page.splitlines() if line.startswith(f"{name} "))
    return float(line.split()[1])


def _held(process: GatewayProcess) -> float:
    return _metric(process, "wan_gateway_inflight_body_bytes")


@pytest.mark.parametrize(
    ("connections", "size"),
    [pytest.param(100, 1440, id="announcements"), pytest.param(12, 900_000, id="slow bodies")],
)
def test_one_tenant_cannot_fill_the_budget(tmp_path: Path, connections: int, size: int) -> None:
    """Whatever a tenant announces, and sends half of, the next one's edit is served."""
    budget = {"max_body_bytes": 2 * _MB, "max_bytes_in_flight": 8 * _MB}
    with (
        region(0.1) as upstream,
        _process(tmp_path, upstream, **budget) as process,
        ExitStack() as open_connections,
    ):
        for _ in range(connections):
            begun = _begun(process, 2 * _MB, size=size)
            open_connections.enter_context(closing(begun))
        until(lambda: _held(process) >= min(connections * size, 5 * _MB))

        answer = _edit(process, KEY, photo())

        assert answer.status_code == 200, answer.text
        assert _held(process) <= 6 * _MB  # three quarters
        process.terminate()


def _rss(process: GatewayProcess) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


def _saved(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _body(connection: socket.socket) -> Iterator[bytes]:
    with connection.makefile("rb") as answer:
        while answer.readline() != b"\r\n":
            pass
        yield answer.read()


def test_slow_readers_of_a_masked_edit(tmp_path: Path) -> None:
    """Twelve hold the memory of one; meanwhile others are served, and all get the same bytes."""
    noise = [Image.effect_noise((1500, 1500), 90) for _ in range(3)]
    original, mask = Image.merge("RGB", noise), Image.new("RGBA", (1500, 1500), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (100, 100, 400, 400))
    with region(0.1) as upstream, _process(tmp_path, upstream) as process:
        result = _edit(process, _LOUD, _saved(original), mask=_saved(mask))
        assert result.status_code == 200, result.text
        before = _rss(process)
        get = f"GET /v1/images/edits/{result.headers['x-wan-edit-id']} HTTP/1.1"
        with ExitStack() as stack, ThreadPoolExecutor(_SLOW_READERS) as pool:
            readers = [
                stack.enter_context(closing(_connect(process, get))) for _ in range(_SLOW_READERS)
            ]
            for reader in readers:
                reader.sendall(b"connection: close\r\n\r\n")
            first = [reader.recv(1, socket.MSG_PEEK) for reader in readers]
            grown = _rss(process) - before

            answers = [_edit(process, key, photo()) for key in (KEY, _LOUD)]
            bodies = list(pool.map(lambda reader: b"".join(_body(reader)), readers))

        picture = result.json()["data"][0]["b64_json"]
        assert first == [b"H"] * _SLOW_READERS
        assert [answer.status_code for answer in answers] == [200, 200]
        assert len(picture) > 6 * _MB
        assert {orjson.loads(body)["data"][0]["b64_json"] for body in bodies} == {picture}
        # One finished picture, the original and what decoding leaves; not twelve of each.
        assert grown < 80 * _MB
        process.terminate()
