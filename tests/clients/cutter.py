"""A network that breaks its first client's connection, for clients in programs of their own."""

import asyncio
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Cutter:
    """A proxy at *url*, in front of *to*."""

    to: str
    when: Callable[[], bool]
    url: str = ""
    connections: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    handlers: "set[asyncio.Task[None]]" = field(default_factory=set)

    async def serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        async with server:
            self.url = "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
            ready.set()
            await self.over.wait()
        if self.handlers:
            await asyncio.wait(self.handlers)
        await asyncio.sleep(0.01)  # what was aborted is closed a turn later

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.connections += 1
        handler: asyncio.Task[None] | None = asyncio.current_task()
        assert handler is not None
        self.handlers.add(handler)
        there = urlsplit(self.to)
        far_reader, far_writer = await asyncio.open_connection(there.hostname, there.port)
        works = [_pump(reader, far_writer), _pump(far_reader, writer), self.over.wait()]
        if self.connections == 1:
            works.append(self._due())
        tasks = [asyncio.get_running_loop().create_task(work) for work in works]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for end in (writer, far_writer):
            end.transport.abort()

    async def _due(self) -> None:
        due = False
        while not due:
            await asyncio.sleep(0.02)
            due = await asyncio.to_thread(self.when)


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()


@contextmanager
def cutting(to: str, when: Callable[[], bool]) -> Iterator[Cutter]:
    """Pass everything on to *to*, but break the first connection as soon as *when* says so."""
    cutter, ready = Cutter(to, when), threading.Event()
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=runner.run, args=(cutter.serve(ready),))
        thread.start()
        assert ready.wait(60)
        try:
            yield cutter
        finally:
            loop.call_soon_threadsafe(cutter.over.set)
            thread.join()
