"""The vendor's own SDK, unchanged but for its base URL, against the sandbox on loopback."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dashscope
import httpx
import pytest
from anyio import to_thread
from dashscope.aigc.image_generation import ImageGeneration
from dashscope.aigc.image_synthesis import ImageSynthesis

from gateway.sandbox import AccountLimits, Constant, create_sandbox, running
from gateway.sandbox.models import RULES
from tests.sandbox.region_client import CONFIG, KEY, picture

pytestmark = pytest.mark.anyio

MODEL = "wan2.5-i2i-preview"
FAST = replace(CONFIG, latency=Constant(0.3))


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point the SDK at a region for the length of one test."""

    def point(base: str) -> None:
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{base}/api/v1")
        monkeypatch.setattr(dashscope, "api_key", KEY)

    return point


@asynccontextmanager
async def pointed(sdk: Callable[[str], None], config: Any = FAST) -> AsyncIterator[None]:
    async with running(create_sandbox(config)) as base:
        sdk(base)
        yield


async def call(act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call the blocking SDK from a thread; gives its answer as a plain object."""
    answer = await to_thread.run_sync(lambda: act(*args, **kwargs))
    return json.loads(str(answer))


def edit(**changes: Any) -> dict[str, Any]:
    images = ["https://pictures.example/a.png"]
    return {"model": MODEL, "prompt": "a hat", "images": images, "n": 1, **changes}


async def test_call(sdk: Callable[[str], None]) -> None:
    """``call`` submits, polls and comes back with the results."""
    async with pointed(sdk):
        answer = await call(
            ImageSynthesis.call,
            **edit(n=2, negative_prompt="", size="1280*1280", seed=12345, watermark=False),
        )

        assert answer["status_code"] == 200
        assert answer["output"]["task_status"] == "SUCCEEDED"
        assert [sorted(item) for item in answer["output"]["results"]] == [
            ["actual_prompt", "orig_prompt", "url"]
        ] * 2
        assert answer["output"]["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 2, "FAILED": 0}
        assert answer["usage"]["image_count"] == 2


async def test_submit_fetch_and_wait(sdk: Callable[[str], None]) -> None:
    """``async_call``, ``fetch`` and ``wait`` see a task begin and end."""
    async with pointed(sdk):
        submitted = await call(ImageSynthesis.async_call, **edit())
        task_id = submitted["output"]["task_id"]
        fetched = await call(ImageSynthesis.fetch, task_id)
        waited = await call(ImageSynthesis.wait, task_id)

        assert submitted["output"]["task_status"] == "PENDING"
        assert fetched["output"]["task_status"] == "RUNNING"
        assert waited["output"]["task_status"] == "SUCCEEDED"


async def test_generation(sdk: Callable[[str], None]) -> None:
    """A picture of a prompt alone: the SDK takes another path by itself."""
    async with pointed(sdk):
        answer = await call(
            ImageSynthesis.call, model="wan2.5-t2i-preview", prompt="a hat", n=2, size="1280*1280"
        )

        assert answer["output"]["task_status"] == "SUCCEEDED"
        assert [sorted(item) for item in answer["output"]["results"]] == [
            ["actual_prompt", "orig_prompt", "url"]
        ] * 2
        assert answer["usage"]["image_count"] == 2


NEWER = [name for name, rules in RULES.items() if rules.form == "messages"]


def message(model: str) -> list[dict[str, Any]]:
    """What each of the newer models takes."""
    pictures = [{"image": "https://pictures.example/a.png"}] * RULES[model].images.start
    return [{"role": "user", "content": [*pictures, {"text": "a hat"}]}]


async def test_every_model_with_tasks(sdk: Callable[[str], None]) -> None:
    """The SDK's class for the newer form submits each, waits and reads two pictures."""
    async with pointed(sdk):
        for model in NEWER:
            if RULES[model].synchronous:
                continue
            submitted = await call(
                ImageGeneration.async_call, model=model, messages=message(model), n=2
            )
            answer = await call(ImageGeneration.wait, submitted["output"]["task_id"])

            assert answer["output"]["task_status"] == "SUCCEEDED", model
            contents = [choice["message"]["content"] for choice in answer["output"]["choices"]]
            assert sum(map(len, contents)) == 2


async def test_every_model_that_answers(sdk: Callable[[str], None]) -> None:
    """The SDK's class for what answers at once gets a picture of each of the newer models."""
    async with pointed(sdk):
        for model in NEWER:
            answer = await call(
                dashscope.MultiModalConversation.call, model=model, messages=message(model)
            )

            assert answer["status_code"] == 200, model
            assert answer["output"]["choices"][0]["message"]["content"][0]["image"]


@pytest.mark.parametrize(
    ("model", "images"), [("wan2.6-image", 1), ("wan2.6-t2i", 0)], ids=["edit", "generate"]
)
async def test_messages(sdk: Callable[[str], None], model: str, images: int) -> None:
    """The SDK's class for the newer form submits, waits and reads the choices."""
    content = [{"text": "a hat"}, *[{"image": "https://pictures.example/a.png"}] * images]
    async with pointed(sdk):
        submitted = await call(
            ImageGeneration.async_call,
            model=model,
            messages=[{"role": "user", "content": content}],
            n=2,
            size="1280*1280",
        )
        answer = await call(ImageGeneration.wait, submitted["output"]["task_id"])

        assert submitted["output"]["task_status"] == "PENDING"
        assert answer["output"]["task_status"] == "SUCCEEDED"
        assert answer["output"]["finished"] is True
        contents = [choice["message"]["content"] for choice in answer["output"]["choices"]]
        assert [sorted(only) for (only,) in contents] == [["image", "type"]] * 2
        assert answer["usage"]["image_count"] == 2


async def test_conversation(sdk: Callable[[str], None], tmp_path: Path) -> None:
    """The SDK's class for what answers at once uploads local files and gets the pictures."""
    path = tmp_path / "cat.png"
    path.write_bytes(picture())
    content = [
        {"image": str(path)},
        {"image": "https://pictures.example/a.png"},
        {"text": "a hat"},
    ]
    async with pointed(sdk):
        answer = await call(
            dashscope.MultiModalConversation.call,
            model="qwen-image-edit-plus",
            messages=[{"role": "user", "content": content}],
            n=2,
            size="1024*1536",
            negative_prompt=" ",
            prompt_extend=True,
            watermark=False,
        )
        (choice,) = answer["output"]["choices"]
        parts = choice["message"]["content"]
        async with httpx.AsyncClient() as http:
            pictures = [(await http.get(part["image"])).content for part in parts]

        assert answer["status_code"] == 200
        assert (choice["finish_reason"], choice["message"]["role"]) == ("stop", "assistant")
        assert [list(part) for part in parts] == [["image"]] * 2
        assert all(got.startswith(b"\x89PNG") for got in pictures)
        usage = answer["usage"]
        assert (usage["image_count"], usage["width"], usage["height"]) == (2, 1024, 1536)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        pytest.param({"text": "[sandbox:fail InternalError]"}, 500, "InternalError", id="failed"),
        pytest.param(
            {"text": "[sandbox:fail DataInspectionFailed]"}, 400, "DataInspectionFailed", id="words"
        ),
        pytest.param({"n": 7}, 400, "InvalidParameter", id="n"),
        pytest.param(
            {"headers": {"X-DashScope-Async": "enable"}}, 403, "AccessDenied", id="asynchronous"
        ),
    ],
)
async def test_conversation_refused(
    sdk: Callable[[str], None], changes: dict[str, Any], status: int, code: str
) -> None:
    """The SDK reads status and code of what is refused, or failed while it waited."""
    asked_for = {"text": "a hat", **changes}
    content = [{"image": "https://pictures.example/a.png"}, {"text": asked_for.pop("text")}]
    async with pointed(sdk):
        answer = await call(
            dashscope.MultiModalConversation.call,
            model="qwen-image-edit-plus",
            messages=[{"role": "user", "content": content}],
            **asked_for,
        )

        assert (answer["status_code"], answer["code"]) == (status, code)


async def test_failure(sdk: Callable[[str], None]) -> None:
    """A FAILED task reaches the SDK's user with code and message."""
    async with pointed(sdk):
        answer = await call(
            ImageSynthesis.call, **edit(prompt="[sandbox:fail DataInspectionFailed]")
        )

        assert (answer["status_code"], answer["output"]["task_status"]) == (200, "FAILED")
        assert answer["output"]["code"] == "DataInspectionFailed"
        assert answer["output"]["message"] == "Input data may contain inappropriate content."


async def test_partial_failure(sdk: Callable[[str], None]) -> None:
    """A partial failure is SUCCEEDED, with both kinds of items."""
    async with pointed(sdk):
        answer = await call(ImageSynthesis.call, **edit(n=2, prompt="[sandbox:partial 1]"))

        good, bad = answer["output"]["results"]
        assert answer["output"]["task_status"] == "SUCCEEDED"
        assert good["url"].startswith("http")
        assert bad["code"] == "InternalError.Timeout"
        assert answer["usage"]["image_count"] == 1


async def test_unknown(sdk: Callable[[str], None]) -> None:
    """``wait`` ends on a task that does not exist."""
    async with pointed(sdk):
        answer = await call(ImageSynthesis.wait, "00000000-0000-0000-0000-000000000000")

        assert answer["output"]["task_status"] == "UNKNOWN"


async def test_cancel_and_list(sdk: Callable[[str], None]) -> None:
    """``cancel`` takes a waiting task out of the line; ``list`` shows both."""
    slow = replace(CONFIG, latency=Constant(60), limits=AccountLimits(running_tasks=1))
    async with pointed(sdk, slow):
        running_id = (await call(ImageSynthesis.async_call, **edit()))["output"]["task_id"]
        waiting_id = (await call(ImageSynthesis.async_call, **edit()))["output"]["task_id"]

        done = await call(ImageSynthesis.cancel, waiting_id)
        refused = await call(ImageSynthesis.cancel, running_id)
        listed = await call(ImageSynthesis.list, page_no=1, page_size=10, model_name=MODEL)

        assert done["status_code"] == 200
        assert (refused["status_code"], refused["code"]) == (400, "UnsupportedOperation")
        rows = {row["task_id"]: row["status"] for row in listed["output"]["data"]}
        assert rows == {waiting_id: "CANCELED", running_id: "RUNNING"}
        assert (listed["output"]["total"], listed["output"]["page_no"]) == (2, 1)


async def test_local_file(sdk: Callable[[str], None], tmp_path: Path) -> None:
    """A local file is uploaded by the SDK and taken by its oss URL."""
    path = tmp_path / "cat.png"
    path.write_bytes(picture())
    async with pointed(sdk):
        answer = await call(ImageSynthesis.call, **edit(images=[str(path)]))

        assert answer["output"]["task_status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("changes", "status", "code", "message"),
    [
        pytest.param(
            {"api_key": "sk-other"}, 401, "InvalidApiKey", "Invalid API-key provided.", id="key"
        ),
        pytest.param(
            {"n": 5},
            400,
            "InvalidParameter",
            "The type or value of n is out of definition.",
            id="n",
        ),
    ],
)
async def test_refusals(
    sdk: Callable[[str], None], changes: dict[str, Any], status: int, code: str, message: str
) -> None:
    """The SDK reads status, code and message of a refusal."""
    async with pointed(sdk):
        answer = await call(ImageSynthesis.async_call, **edit(**changes))

        assert (answer["status_code"], answer["code"]) == (status, code)
        assert answer["message"] == message
