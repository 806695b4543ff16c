"""LiteLLM in front of the gateway: as a library, and as a proxy with OpenAI's SDK before it."""

import asyncio
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from gateway.sandbox import Constant
from tests.clients.python_packages import environment, run
from tests.harness import (
    KEY,
    PLAIN,
    ThreadedHarness,
    digest,
    eventually,
    hashed,
    origin,
    origin_of,
    photo,
    start_threaded_harness,
)
from tests.ports import free_port
from tests.process import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the packages may have to be installed
]

# What its proxy imports of the extra `proxy`, which would bring twice as much.
_PROXY = (
    *("fastapi", "uvicorn", "uvloop", "gunicorn", "pyyaml", "orjson", "apscheduler", "backoff"),
    *("cryptography", "python-multipart", "websockets", "PyJWT", "rich", "email-validator"),
    *("fastapi-sso", "redis", "semver", "expression", "mcp", "soundfile"),
)
_MASTER_KEY = "sk-litellm"


@pytest.fixture(scope="module")
def programs() -> Path:
    return environment("litellm", "litellm==1.110.2", *_PROXY)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


def test_the_library(
    shared_gateway: ThreadedHarness, nginx_url: str, programs: Path, picture: Path, mask: Path
) -> None:
    """image_edit edits, takes lists, masks and n, and raises a refusal with its sentence."""
    one, several, masked = "litellm", "litellm: several", "litellm: mask"
    edits: list[dict[str, Any]] = [
        {"prompt": one, "images": [str(picture)]},
        {"prompt": several, "images": [str(picture)] * 2, "n": 2, "size": "1024x1024"},
        {"prompt": masked, "images": [str(picture)], "mask": str(mask)},
        {"prompt": "litellm: no", "images": [str(picture)], "n": 11},
        {"prompt": "litellm: stream", "images": [str(picture)], "stream": True},
    ]

    result = run(
        programs / "python", "litellm_edits.py", base_url=f"{nginx_url}/v1", key=KEY, edits=edits
    )

    assert [len(answer.get("pictures", ())) for answer in result] == [1, 2, 1, 0, 0]
    assert origin_of(b64decode(result[0]["pictures"][0])) == origin(one, photo())
    (task,) = shared_gateway.tasks(several)
    assert (task["n"], task["size"]) == (2, [1024, 1024])
    assert task["inputs_sha256"] == [digest(photo())] * 2
    _keeps_what_the_mask_protects(result[2]["pictures"][0])
    assert result[3]["name"] == "BadRequestError"
    assert "Expected a whole number from 1 to 10" in result[3]["message"]
    assert result[4]["name"] == "APIError"  # it reads a stream as JSON
    assert len(shared_gateway.tasks("litellm: stream")) == 1


@dataclass(frozen=True, slots=True)
class LitellmProxy:
    url: str

    def client(self, **more: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=_MASTER_KEY, **more)


@pytest.fixture(scope="module")
def joining() -> Iterator[ThreadedHarness]:
    """A gateway whose tenant is behind a proxy that holds on."""
    acme = {"region": "beijing", "keys": [hashed(KEY)], "equal_edits": "join"}
    with start_threaded_harness(
        replace(PLAIN, latency=Constant(0.1)), tenants={"acme": acme}
    ) as found:
        yield found


@pytest.fixture(scope="module")
def proxy(
    shared_gateway: ThreadedHarness,
    nginx_url: str,
    joining: ThreadedHarness,
    programs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LitellmProxy]:
    """LiteLLM's proxy; its model gpt-image-1 is the gateway, gpt-image-2 that behind nginx."""
    folder = tmp_path_factory.mktemp("litellm")
    models = {"gpt-image-1": shared_gateway.url, "gpt-image-2": nginx_url, "joining": joining.url}
    entries = [
        f"""
  - model_name: {name}
    litellm_params: {{model: openai/gpt-image-1, api_base: {url}/v1, api_key: {KEY}}}
    model_info: {{mode: image_edit}}"""
        for name, url in models.items()
    ]
    (folder / "config.yaml").write_text(
        f"model_list:{''.join(entries)}\ngeneral_settings: {{master_key: {_MASTER_KEY}}}\n"
    )
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(programs / "litellm"), "--config", "config.yaml"),
                *("--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"),
            ],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "NO_PROXY": "127.0.0.1", "HOME": str(folder)}
            | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            stdout=log,
            stderr=log,
        )
    found = LitellmProxy(f"http://127.0.0.1:{port}")

    def lives() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return httpx.get(f"{found.url}/health/liveliness", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(lives, seconds=300)
        yield found
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("model", ["gpt-image-1", "gpt-image-2"])
def test_the_proxy(
    shared_gateway: ThreadedHarness, proxy: LitellmProxy, mask: Path, model: str
) -> None:
    """Edits, lists and masks go through it, and a refusal keeps its status and sentence."""
    prompt = f"through litellm {model}"
    with proxy.client() as client:
        one = client.images.edit(model=model, image=photo(), prompt=prompt)
        under = client.images.edit(
            model=model, image=[photo()] * 2, prompt=f"{prompt}: mask", mask=mask
        )
        with pytest.raises(openai.BadRequestError, match="Expected a whole number from 1 to 10"):
            client.images.edit(model=model, image=photo(), prompt="no", n=11)

    assert origin_of(_first(one)) == origin(prompt, photo())
    assert len(shared_gateway.tasks(prompt)) == 1
    _keeps_what_the_mask_protects(_b64(under))


def test_its_health_costs_money(shared_gateway: ThreadedHarness, proxy: LitellmProxy) -> None:
    """/health edits a picture of its own with every model."""
    theirs_ = "Add a small yellow star in the top right corner"
    headers = {"authorization": f"Bearer {_MASTER_KEY}"}

    httpx.get(f"{proxy.url}/health", headers=headers, trust_env=False, timeout=120)

    results = [prompt for prompt in shared_gateway.prompts() if prompt.startswith(theirs_)]
    assert len(results) == 2


def test_its_streams_fail(shared_gateway: ThreadedHarness, proxy: LitellmProxy) -> None:
    """It reads a stream as JSON: the edit is paid for, fails, and is paid for again."""
    prompt = "through litellm: stream"
    with proxy.client() as client, pytest.raises(openai.InternalServerError):
        client.images.edit(model="gpt-image-1", image=photo(), prompt=prompt, stream=True)

    assert len(shared_gateway.tasks(prompt)) > 1


def test_it_holds_on(joining: ThreadedHarness, proxy: LitellmProxy) -> None:
    """What its client repeats is one edit where the tenant says equal_edits = "join"."""
    prompt = "through litellm: held [sandbox:seconds 120]"

    async def one_task() -> bool:
        return bool(await asyncio.to_thread(joining.tasks, prompt))

    async def leave_and_come_back() -> openai.types.ImagesResponse:
        async with openai.AsyncOpenAI(
            base_url=f"{proxy.url}/v1", api_key=_MASTER_KEY, max_retries=0
        ) as client:
            edit_request = partial(
                client.images.edit, model="joining", image=photo(), prompt=prompt
            )
            async with asyncio.TaskGroup() as group:
                first = group.create_task(edit_request())
                await eventually(one_task)
                first.cancel()
            return await edit_request()

    answer = asyncio.run(leave_and_come_back())

    assert origin_of(_first(answer)) == origin(prompt, photo())
    assert len(joining.tasks(prompt)) == 1


def _b64(answer: openai.types.ImagesResponse) -> str:
    (image,) = answer.data or []
    return image.b64_json or ""


def _first(answer: openai.types.ImagesResponse) -> bytes:
    return b64decode(_b64(answer))


def _keeps_what_the_mask_protects(picture: str) -> None:
    before, after = (
        Image.open(BytesIO(one)).convert("RGB") for one in (photo(), b64decode(picture))
    )
    kept, edited = (0, 0, 190, 400), (210, 0, 400, 400)
    assert after.crop(kept).tobytes() == before.crop(kept).tobytes()
    assert after.crop(edited).tobytes() != before.crop(edited).tobytes()
