"""Clients of HTTP/1.0 (ab, old proxies, scripts): an answer is what comes until the end."""

import asyncio
import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.sandbox import Constant
from tests.harness import KEY, PLAIN, hashed, origin, origin_of, photo, start_harness

pytestmark = pytest.mark.anyio

SLOW = replace(PLAIN, latency=Constant(12.0))


async def _ask(url: str, **fields: str) -> tuple[bytes, bytes]:
    """The head and the body of the answer to an edit in HTTP/1.0."""
    request = httpx.Request(
        "POST",
        f"{url}/v1/images/edits",
        data={"prompt": "make it blue", **fields},
        files={"image": ("a.png", photo(), "image/png")},
        headers={"authorization": f"Bearer {KEY}"},
    )
    lines = [b"POST /v1/images/edits HTTP/1.0", *(b"%b: %b" % it for it in request.headers.raw)]
    reader, writer = await asyncio.open_connection(request.url.host, request.url.port)
    writer.write(b"\r\n".join([*lines, b"", b""]) + request.read())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.lower(), body


@pytest.mark.parametrize(
    ("tenant", "blanks"),
    [
        pytest.param({}, False, id="silent"),
        pytest.param({"keep_alive": "whitespace"}, True, id="kept awake"),
    ],
)
async def test_json(tenant: dict[str, Any], blanks: bool) -> None:
    """JSON is JSON to the last byte, with blanks before it or without."""
    tenants = {"acme": {"region": "beijing", "keys": [hashed(KEY)], **tenant}}
    async with start_harness(SLOW, tenants=tenants, server={"heartbeat_seconds": 2}) as harness:
        head, body = await _ask(harness.url)

    (image,) = json.loads(body)["data"]
    assert origin_of(b64decode(image["b64_json"])) == origin("make it blue", photo())
    assert body.startswith(b"\n") is blanks
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head


async def test_a_stream() -> None:
    """Events are lines and nothing between them."""
    async with start_harness(SLOW, server={"heartbeat_seconds": 2}) as harness:
        head, body = await _ask(harness.url, stream="true")

    lines = body.decode().splitlines()
    assert all(line.startswith(("event: ", "data: ", ":")) or not line for line in lines)
    (data,) = (line for line in lines if line.startswith("data: "))
    picture = b64decode(json.loads(data.removeprefix("data: "))["b64_json"])
    assert origin_of(picture) == origin("make it blue", photo())
    assert b"transfer-encoding" not in head
