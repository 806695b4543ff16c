"""
The floor: a hand-written program that only moves an edit's bytes, and checks nothing.

python -m benchmarks.floor PORT STUB_PORT TASK_SECONDS
"""

import asyncio
import sys

import orjson
import pybase64
import uvloop

from benchmarks.wire import answer, read_body, read_head


class Floor:
    def __init__(self, stub: int, seconds: float) -> None:
        self._stub = stub
        self._seconds = seconds
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                _, headers = await read_head(reader)
                body = await read_body(reader, headers)
                picture = await self._edit(body, headers["content-type"].split("boundary=")[1])
                content = (
                    b'{"created":1,"data":[{"b64_json":"' + pybase64.b64encode(picture) + b'"}]}'
                )
                writer.write(answer("200 OK", content))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _edit(self, body: bytes, boundary: str) -> bytes:
        start = body.index(b"\r\n\r\n", body.index(b"filename=")) + 4
        picture = memoryview(body)[start : body.index(b"\r\n--" + boundary.encode(), start)]
        prompt = body.index(b'name="prompt"\r\n\r\n') + 17
        submit = (
            b'{"model":"m","input":{"prompt":"'
            + body[prompt : body.index(b"\r\n", prompt)]
            + b'","images":["data:image/jpeg;base64,'
            + pybase64.b64encode(picture)
            + b'"]},"parameters":{"n":1}}'
        )
        del body, picture
        accepted = orjson.loads(await self._call("POST", "/submit", submit))
        task = f"/tasks/{accepted['output']['task_id']}"
        await asyncio.sleep(self._seconds)
        while True:
            values = orjson.loads(await self._call("GET", task))["output"]
            if values["task_status"] == "SUCCEEDED":
                break
            await asyncio.sleep(0.05)
        return await self._call("GET", "/" + values["results"][0]["url"].split("/", 3)[3])

    async def _call(self, method: str, target: str, body: bytes = b"") -> bytes:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._stub, limit=2**20)
        head = f"{method} {target} HTTP/1.1\r\nhost: stub\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode())
        writer.write(body)
        await writer.drain()
        _, headers = await read_head(reader)
        content = await read_body(reader, headers)
        self._idle.append((reader, writer))
        return content


async def main(port: int, stub: int, seconds: float) -> None:
    floor = Floor(stub, seconds)
    server = await asyncio.start_server(floor.serve, "127.0.0.1", port, limit=2**20, backlog=2048)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
