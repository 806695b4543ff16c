"""
An upstream that costs next to nothing: every task succeeds after a set time.

python -m benchmarks.stub PORT TASK_SECONDS RESULT_BYTES
"""

import asyncio
import itertools
import os
import struct
import sys
import zlib

import orjson

from benchmarks.wire import answer, read_body, read_head


def png(length: int) -> bytes:
    """Return a PNG of 1024x1024 and about *length* bytes, most of them in one unknown chunk."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1024, 1024, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * (1024 * 3073), 1))
    padding = chunk(b"prVt", os.urandom(max(0, length - len(head) - len(pixels) - 40)))
    return b"\x89PNG\r\n\x1a\n" + head + padding + pixels + chunk(b"IEND", b"")


class Stub:
    def __init__(self, port: int, seconds: float, result: bytes) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._seconds = seconds
        self._result = answer("200 OK", result, "image/png")
        self._ends: dict[str, float] = {}
        self._numbers = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                first, headers = await read_head(reader)
                await read_body(reader, headers)
                writer.write(self._answer(first))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, first: str) -> bytes:
        method, target, _ = first.split(" ")
        now = asyncio.get_running_loop().time()
        if method == "POST":
            task_id = f"00000000-0000-4000-8000-{next(self._numbers):012d}"
            self._ends[task_id] = now + self._seconds
            said = {"output": {"task_status": "PENDING", "task_id": task_id}, "request_id": "r"}
            return answer("200 OK", orjson.dumps(said))
        if target.startswith("/results/"):
            return self._result
        if "?" in target:
            rows = [
                {"task_id": t, "status": "RUNNING"} for t, end in self._ends.items() if end > now
            ]
            told = {
                "total": len(rows),
                "total_page": 1,
                "page_no": 1,
                "data": rows,
                "request_id": "r",
            }
            return answer("200 OK", orjson.dumps(told))
        task_id = target.rsplit("/", 1)[1]
        output: dict[str, object] = {"task_id": task_id, "task_status": "RUNNING"}
        if self._ends.get(task_id, 0) <= now:
            self._ends.pop(task_id, None)
            output = {
                "task_id": task_id,
                "task_status": "SUCCEEDED",
                "results": [{"url": f"{self._base}/results/{task_id}.png?Signature=a%2Bb"}],
            }
        return answer("200 OK", orjson.dumps({"output": output, "request_id": "r"}))


async def main(port: int, seconds: float, length: int) -> None:
    stub = Stub(port, seconds, png(length))
    server = await asyncio.start_server(stub.serve, "127.0.0.1", port, limit=2**20, backlog=2048)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
