"""
Clients with raw sockets: so many edits, so many at once.

python -m benchmarks.load PORT PICTURE EDITS AT_ONCE [FIRST]

Prints JSON: ``{"edits": [[number, began, ended], ...], "failed": int}``, times in seconds of
the machine's monotonic clock. The edit's number, from FIRST on, stands in its prompt.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from benchmarks.wire import read_body, read_head

_BOUNDARY = "0123456789abcdef0123456789abcdef"
MODEL = "wan2.5-i2i-preview"


def body_of(picture: bytes, prompt: str) -> bytes:
    def part(name: str, value: bytes, more: str = "") -> bytes:
        return (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
            + value
            + b"\r\n"
        )

    more = '; filename="a.jpg"\r\nContent-Type: image/jpeg'
    return (
        part("model", MODEL.encode())
        + part("prompt", prompt.encode())
        + part("image", picture, more)
        + f"--{_BOUNDARY}--\r\n".encode()
    )


def head_of(body: bytes) -> bytes:
    return (
        "POST /v1/images/edits HTTP/1.1\r\nhost: gateway\r\n"
        "authorization: Bearer wk-bench\r\n"
        f"content-type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()


class Load:
    def __init__(self, port: int, picture: bytes, numbers: range) -> None:
        self._port = port
        self._picture = picture
        self._left = iter(numbers)
        self.edits: list[tuple[int, float, float]] = []
        self.failed = 0

    async def client(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        for number in self._left:
            body = body_of(self._picture, f"edit {number}")
            began = time.monotonic()
            writer.write(head_of(body))
            writer.write(body)
            await writer.drain()
            first, headers = await read_head(reader)
            content = await read_body(reader, headers)
            self.edits.append((number, began, time.monotonic()))
            if " 200 " not in first or b"b64_json" not in content:
                self.failed += 1
                print(first, content[:300], file=sys.stderr)
        writer.close()


async def main(port: int, picture: bytes, edits: int, at_once: int, first: int = 0) -> None:
    load = Load(port, picture, range(first, first + edits))
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(load.client())
    print(json.dumps({"edits": load.edits, "failed": load.failed}))


if __name__ == "__main__":
    port, picture, *numbers = sys.argv[1:]
    asyncio.run(main(int(port), Path(picture).read_bytes(), *map(int, numbers)))
