"""A region in a test's hand: a clock that moves when told, pictures, and a caller."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import Any

import anyio
import httpx
from anyio.lowlevel import checkpoint
from PIL import Image
from starlette.types import ASGIApp

from gateway.sandbox import Constant, SandboxConfig, create_sandbox, running

SUBMIT = "/api/v1/services/aigc/image2image/image-synthesis"
SYNCHRONOUS_PATH = "/api/v1/services/aigc/multimodal-generation/generation"
KEY = "sk-one"
#: 2025-09-23 22:14:10.800 in Beijing, as in the vendor's sample.
EPOCH = 1758636850.8
CONFIG = SandboxConfig(
    accounts={"one": (KEY, "sk-one-more"), "two": ("sk-two",)}, latency=Constant(10.0)
)


class SkippingClock:
    """Moves by `advance`, and by whoever sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def epoch(self) -> float:
        return EPOCH + self.time - 1000.0

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await checkpoint()

    def advance(self, seconds: float) -> None:
        self.time += seconds


class ManualClock(SkippingClock):
    """Moves by `advance` alone; whoever sleeps wakes when the time has come."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers = 0
        self._moved = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        end = self.time + seconds
        self.sleepers += 1
        try:
            while self.time < end:
                await self._moved.wait()
        finally:
            self.sleepers -= 1

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._moved.set()
        self._moved = anyio.Event()

    async def wait_for_sleepers(self, sleepers: int) -> None:
        """Wait until so many sleep."""
        with anyio.fail_after(10):
            while self.sleepers != sleepers:
                await checkpoint()


@cache
def picture(size: tuple[int, int] = (640, 480), kind: str = "PNG", mode: str = "RGB") -> bytes:
    """An encoded picture of two colours."""
    file = BytesIO()
    image = Image.new(mode, size, "teal")
    image.paste("orange", (0, 0, size[0] // 2, size[1] // 2))
    image.save(file, kind)
    return file.getvalue()


def data_url(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{b64encode(data).decode()}"


def body(prompt: str = "a hat", **parameters: Any) -> dict[str, Any]:
    """A good submit; *parameters* go where the wire has them."""
    return {
        "model": "wan2.5-i2i-preview",
        "input": {"prompt": prompt, "images": ["https://pictures.example/a.png"]},
        "parameters": {"n": 1, **parameters},
    }


def message(*images: str, text: str = "a hat") -> dict[str, Any]:
    """An input in the newer form, the text first."""
    content = [{"text": text}, *({"image": image} for image in images)]
    return {"messages": [{"role": "user", "content": content}]}


class RegionClient:
    """Calls one region with one key."""

    def __init__(self, http: httpx.AsyncClient, clock: SkippingClock, key: str = KEY) -> None:
        self.http = http
        self.clock = clock
        self.headers = {"authorization": f"Bearer {key}"}

    def with_key(self, key: str) -> "RegionClient":
        return RegionClient(self.http, self.clock, key)

    async def get(self, path: str, **params: str) -> httpx.Response:
        return await self.http.get(path, params=params or None, headers=self.headers)

    async def post(self, table: Any, path: str = SUBMIT, **headers: str) -> httpx.Response:
        """Submit a whole body."""
        return await self.http.post(
            path, json=table, headers={**self.headers, "x-dashscope-async": "enable", **headers}
        )

    async def synchronous(
        self, prompt: str = "a hat", *images: str, headers: Any = None, **parameters: Any
    ) -> httpx.Response:
        """Submit to a model that answers at once."""
        table = {
            "model": "qwen-image-edit-plus",
            "input": message(*(images or ("https://pictures.example/a.png",)), text=prompt),
            "parameters": parameters,
        }
        return await self.http.post(
            SYNCHRONOUS_PATH, json=table, headers={**self.headers, **(headers or {})}
        )

    async def submit(self, prompt: str = "a hat", **parameters: Any) -> str:
        """Submit a good body; gives the task id."""
        answer = await self.post(body(prompt, **parameters))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["output"]["task_id"])

    async def query(self, task_id: str) -> dict[str, Any]:
        answer = await self.get(f"/api/v1/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def status(self, task_id: str) -> str:
        return str((await self.query(task_id))["output"]["task_status"])

    async def rows(self, **params: str) -> list[dict[str, Any]]:
        return list((await self.get("/api/v1/tasks", **params)).json()["data"])

    async def cancel(self, task_id: str) -> httpx.Response:
        return await self.http.post(f"/api/v1/tasks/{task_id}/cancel", headers=self.headers)

    async def fault(self, **rule: Any) -> None:
        answer = await self.http.post("/_sandbox/faults", json=rule)
        assert answer.status_code == 200, answer.text

    async def books(self) -> dict[str, Any]:
        return dict((await self.http.get("/_sandbox/books")).json())


@asynccontextmanager
async def region(
    config: SandboxConfig = CONFIG, clock: SkippingClock | None = None, **changes: Any
) -> AsyncIterator[RegionClient]:
    """A region in process, visited by the first key of account *one*."""
    clock = clock or SkippingClock()
    app: ASGIApp = create_sandbox(replace(config, **changes), clock=clock)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://region.test:81") as http:
        yield RegionClient(http, clock)


@asynccontextmanager
async def socket_region(
    config: SandboxConfig = CONFIG, clock: SkippingClock | None = None
) -> AsyncIterator[RegionClient]:
    """A region behind a real socket, on a clock that the test moves."""
    clock = clock or SkippingClock()
    app = create_sandbox(config, clock=clock)
    async with running(app) as base, httpx.AsyncClient(base_url=base, timeout=60) as http:
        yield RegionClient(http, clock)


async def uploaded_url(client: RegionClient, name: str, model: str = "wan2.5-i2i-preview") -> str:
    policy = (await client.get("/api/v1/uploads", action="getPolicy", model=model)).json()["data"]
    key = f"{policy['upload_dir']}/{name}"
    form = {
        "OSSAccessKeyId": policy["oss_access_key_id"],
        "Signature": policy["signature"],
        "policy": policy["policy"],
        "key": key,
    }
    answer = await client.http.post(
        policy["upload_host"], data=form, files={"file": (name, picture())}
    )
    assert answer.status_code == 200, answer.text
    return f"oss://{key}"


def images(answer: httpx.Response) -> list[str]:
    """The URLs of a good answer."""
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["output"]["choices"]
    return [part["image"] for part in choice["message"]["content"]]


async def only_row(client: RegionClient) -> dict[str, Any]:
    (row,) = (await client.books())["tasks"]
    return dict(row)
