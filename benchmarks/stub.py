"""
An upstream that costs next to nothing: every task succeeds after a set time.

python -m benchmarks.stub PORT TASK_SECONDS RESULT_BYTES [SPREAD]

It speaks as much DashScope as the gateway and the SDK need, and answers OpenAI's
``/v1/images/edits`` itself after the same time, for a proxy that passes edits along. A SPREAD
of 0.5 draws each task's time from 0.5 to 1.5 x TASK_SECONDS. ``GET /times`` says of every edit
by its number when its submit was there, its task ended, and its end was asked for; in seconds
of the machine's monotonic clock.
"""

import asyncio
import itertools
import os
import random
import re
import struct
import sys
import time
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import orjson
import pybase64

from benchmarks.wire import answer, read_body, read_head

_NUMBER = re.compile(rb"\bedit (\d+)\b")
_BEIJING = timezone(timedelta(hours=8))
_EPOCH = datetime.now(_BEIJING).timestamp() - time.monotonic()
_USAGE = {
    "input_tokens": 323,
    "input_tokens_details": {"image_tokens": 300, "text_tokens": 23},
    "output_tokens": 1056,
    "total_tokens": 1379,
}
_SEARCHED = 2000  # bytes of a body; prompts stand in front of pictures


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


@dataclass(slots=True)
class _StubTask:
    edit: str
    arrived: float
    ends: float
    polled_at: float = 0.0
    """When its end was first asked for, and answered."""

    def instants(self) -> tuple[float, float, float]:
        return self.arrived, self.ends, self.polled_at

    def times(self) -> dict[str, str]:
        return {
            "submit_time": _beijing(self.arrived),
            "scheduled_time": _beijing(self.arrived),
            "end_time": _beijing(self.ends),
        }


class Stub:
    def __init__(self, port: int, seconds: float, result: bytes, spread: float) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._seconds = seconds
        self._spread = spread
        self._chance = random.Random(1)
        self._result = answer("200 OK", result, "image/png")
        body = b'{"created":1,"data":[{"b64_json":"%b"}],"usage":%b}' % (
            pybase64.b64encode(result),
            orjson.dumps(_USAGE),
        )
        self._edited = answer("200 OK", body)
        self._running: dict[str, _StubTask] = {}
        self._ended: list[_StubTask] = []
        self._numbers = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                first, headers = await read_head(reader)
                body = await read_body(reader, headers)
                writer.write(await self._answer(first, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, first: str, body: bytes) -> bytes:
        method, target, _ = first.split(" ")
        if target.endswith("/images/edits"):
            return await self._edit(body)
        if method == "POST":
            return self._submit(body)
        if target.startswith("/results/"):
            return self._result
        if target == "/times":
            return _json({task.edit: task.instants() for task in self._ended})
        if "?" in target:
            return self._list()
        return self._fetch(target.rsplit("/", 1)[1])

    async def _edit(self, body: bytes) -> bytes:
        task = self._begun(body)
        await asyncio.sleep(max(0.0, task.ends - time.monotonic()))
        task.polled_at = task.ends
        self._ended.append(task)
        return self._edited

    def _submit(self, body: bytes) -> bytes:
        task_id = f"00000000-0000-4000-8000-{next(self._numbers):012d}"
        self._running[task_id] = self._begun(body)
        fields = {"output": {"task_status": "PENDING", "task_id": task_id}, "request_id": "r"}
        return _json(fields)

    def _begun(self, body: bytes) -> _StubTask:
        number = _NUMBER.search(body, 0, _SEARCHED)
        seconds = self._seconds * self._chance.uniform(1 - self._spread, 1 + self._spread)
        now = time.monotonic()
        return _StubTask(number[1].decode() if number else "", now, now + seconds)

    def _list(self) -> bytes:
        now = time.monotonic()
        rows = [
            {
                "task_id": task_id,
                "status": "RUNNING",
                "gmt_create": int(1000 * (_EPOCH + task.arrived)),
            }
            for task_id, task in self._running.items()
            if task.ends > now
        ]
        values = {"total": len(rows), "total_page": 1, "page_no": 1, "data": rows}
        return _json({**values, "request_id": "r"})

    def _fetch(self, task_id: str) -> bytes:
        output: dict[str, object] = {"task_id": task_id, "task_status": "RUNNING"}
        task = self._running.get(task_id)
        if task is None or task.ends <= time.monotonic():
            if task is not None:
                task.polled_at = time.monotonic()
                self._ended.append(self._running.pop(task_id))
                output |= task.times()
            output |= {
                "task_status": "SUCCEEDED",
                "results": [{"url": f"{self._base}/results/{task_id}.png?Signature=a%2Bb"}],
            }
        return _json({"output": output, "request_id": "r"})


def _beijing(at: float) -> str:
    """Return DashScope's form of a time of the monotonic clock: Beijing's, with milliseconds."""
    epoch = _EPOCH + at
    return datetime.fromtimestamp(epoch, _BEIJING).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _json(values: object) -> bytes:
    return answer("200 OK", orjson.dumps(values))


async def main(port: int, seconds: float, length: int, spread: float) -> None:
    stub = Stub(port, seconds, png(length), spread)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", port, limit=2**20, backlog=2048)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    port, seconds, length, *spread = sys.argv[1:]
    asyncio.run(main(int(port), float(seconds), int(length), float(spread[0]) if spread else 0.0))
