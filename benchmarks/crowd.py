"""
Clients that upload at the same time, and come again when the answer says so.

python -m benchmarks.crowd PORT PICTURE CLIENTS TOGETHER

If TOGETHER is 1, each keeps back the last bytes of its body until all have sent the rest, so
that all bodies are in flight at one moment. A 503 is tried again after its Retry-After, with
jitter. Prints JSON: ``{"refused": int, "failed": int, "took": seconds, "slowest": seconds}``.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path

from benchmarks.load import body_of, head_of
from benchmarks.wire import read_body, read_head

_PIECE = 2**18
_KEPT_BACK = 2**10


class Crowd:
    def __init__(self, port: int, picture: bytes, clients: int, *, together: bool) -> None:
        self._port = port
        self._picture = picture
        self._all_here = asyncio.Event()
        self._awaited = clients
        if not together:
            self._all_here.set()
        self._chance = random.Random(1)
        self.refused = 0
        self.failed = 0
        self.seconds: list[float] = []

    async def client(self, number: int) -> None:
        began = time.monotonic()
        status, pause = "503", 0.0
        while status == "503":
            await asyncio.sleep(pause * self._chance.uniform(1, 2))
            status, pause = await self._upload(number)
            self.refused += status == "503"
        self.failed += status != "200"
        self.seconds.append(time.monotonic() - began)

    async def _upload(self, number: int) -> tuple[str, float]:
        """Return the status, and after how many seconds to come again."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        # Its pieces go out as the gateway takes them: a copy for each client would be ours.
        body = memoryview(body_of(self._picture, f"edit {number}"))
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(read_head(reader))
            sending = group.create_task(self._send(writer, body))
            await asyncio.wait((answer, sending), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                sending.cancel()
            first, headers = await answer
        try:
            await read_body(reader, headers)
        except (asyncio.IncompleteReadError, ConnectionError):
            if " 200 " in first:
                raise
        writer.close()
        return first.split(" ")[1], float(headers.get("retry-after", 1))

    async def _send(self, writer: asyncio.StreamWriter, body: memoryview) -> None:
        try:
            writer.write(head_of(bytes(body)))
            for at in range(0, len(body) - _KEPT_BACK, _PIECE):
                writer.write(body[at : min(at + _PIECE, len(body) - _KEPT_BACK)])
                await writer.drain()
            await self._meet()
            writer.write(body[-_KEPT_BACK:])
            await writer.drain()
        except ConnectionError:
            pass  # it was refused on the way; the answer says why

    async def _meet(self) -> None:
        self._awaited -= 1
        if self._awaited <= 0:
            self._all_here.set()
        await self._all_here.wait()


async def main(port: int, picture: bytes, clients: int, *, together: bool) -> None:
    crowd = Crowd(port, picture, clients, together=together)
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(crowd.client(number))
    print(
        json.dumps(
            {
                "refused": crowd.refused,
                "failed": crowd.failed,
                "took": time.monotonic() - began,
                "slowest": max(crowd.seconds),
            }
        )
    )


if __name__ == "__main__":
    port, picture, clients, together = sys.argv[1:]
    asyncio.run(main(int(port), Path(picture).read_bytes(), int(clients), together=together == "1"))
