"""Bodies of requests: captured ones, made ones, and how they are read."""

from pathlib import Path

import httpx
import orjson
from starlette.types import Message

from gateway.downstream.body import BodyLimits
from gateway.downstream.form import read_form
from gateway.downstream.memory_budget import MemoryBudget
from gateway.translate.openai_pictures import Form
from tests.downstream.harness import PNG, limits_of

BODIES = Path(__file__).parent.parent / "data" / "bodies"
LIMITS = limits_of()
DATA_URL = "data:image/png;base64,iVBORw0KGgo="


def captured(name: str) -> tuple[dict[str, str], bytes]:
    head, _, body = (BODIES / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body


async def read(
    headers: dict[str, str],
    *pieces: bytes,
    limits: BodyLimits = LIMITS,
    budget: int = 2**24,
    most: int = 3,
) -> Form:
    script: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    script.append({"type": "http.request"})

    async def receive() -> Message:
        return script.pop(0)

    with MemoryBudget(budget, lambda _: None).reserve() as reservation:
        return await read_form(receive, headers, limits, reservation, lambda _, __: most)


def body_of(**kwargs: object) -> tuple[dict[str, str], bytes]:
    request = httpx.Request("POST", "http://gateway/", **kwargs)  # type: ignore[arg-type]  # rows
    return dict(request.headers), request.read()


def multipart(*parts: bytes) -> tuple[dict[str, str], bytes]:
    body = b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + b"--B--"
    return {"content-type": "multipart/form-data; boundary=B"}, body


def part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value


IMAGE = part("image", PNG, '; filename="a.png"')


def json(text: object) -> tuple[dict[str, str], bytes]:
    return {"content-type": "Application/JSON; charset=utf-8"}, orjson.dumps(text)
