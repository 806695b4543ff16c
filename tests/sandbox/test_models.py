"""Each model of a region: where it is served, in which form, within which limits."""

from typing import Any

import pytest

from gateway.sandbox import AccountLimits
from gateway.sandbox.models import (
    EDITS,
    MESSAGES,
    PAINTING,
    RULES,
    SYNCHRONOUS_PATH,
    SYNTHESIS,
    rules_of,
)
from gateway.sandbox.tasks import InputPicture, Size, SubmitRequest
from tests.sandbox.region_client import data_url, message, picture, region

pytestmark = pytest.mark.anyio

URL = "https://pictures.example/a.png"


INPUTS: dict[str, dict[str, Any]] = {
    "wan2.5-i2i-preview": {"prompt": "a hat", "images": [URL]},
    "wan2.5-t2i-preview": {"prompt": "a hat"},
    "wan2.6-image": message(URL),
    "wan2.6-t2i": message(),
    "qwen-image-edit-plus": message(URL),
}
OF_TASKS = [model for model in RULES if not RULES[model].synchronous]


def at(model: str) -> str:
    return f"/api/v1{RULES[model].path}"


def asked_as(model: str) -> dict[str, str]:
    """The header that says whether a task is wanted."""
    return {"x-dashscope-async": "disable" if RULES[model].synchronous else "enable"}


def test_a_model_that_a_config_adds() -> None:
    """It goes by the rules of wan2.5's edits."""
    assert rules_of("another") is EDITS


@pytest.mark.parametrize("model", OF_TASKS)
@pytest.mark.parametrize("path", [SYNTHESIS, PAINTING, MESSAGES])
async def test_a_model_is_served_at_its_path(model: str, path: str) -> None:
    """At the path of another model the region says what DashScope says: url error."""
    async with region() as client:
        answer = await client.post({"model": model, "input": INPUTS[model]}, f"/api/v1{path}")

        if path == RULES[model].path:
            assert answer.json()["output"]["task_status"] == "PENDING"
        else:
            assert answer.status_code == 400
            assert answer.json()["message"].startswith("url error")


@pytest.mark.parametrize("path", [SYNTHESIS, PAINTING, MESSAGES])
async def test_a_model_that_answers_at_once_makes_no_task(path: str) -> None:
    """At the path of tasks it cannot be called asynchronously, nor without the header."""
    table = {"model": "qwen-image-edit-plus", "input": message(URL)}
    async with region() as client:
        refused = await client.post(table, f"/api/v1{path}")
        bare = await client.post(table, f"/api/v1{path}", **{"x-dashscope-async": "disable"})

        assert (refused.status_code, refused.json()["code"]) == (403, "AccessDenied")
        assert refused.json()["message"] == "current user api does not support asynchronous calls"
        assert (bare.status_code, bare.json()["code"]) == (403, "AccessDenied")
        assert bare.json()["message"] == "current user api does not support synchronous calls."


@pytest.mark.parametrize("model", [*OF_TASKS, "qwen-image-edit-max"])
async def test_the_path_that_answers_at_once(model: str) -> None:
    """It refuses the header of tasks, and with url error every model that it does not serve."""
    async with region() as client:
        table = {"model": model, "input": message(URL)}
        path = f"/api/v1{SYNCHRONOUS_PATH}"
        tasks = await client.post(table, path)
        other = await client.post(table, path, **{"x-dashscope-async": "disable"})

        assert (tasks.status_code, tasks.json()["code"]) == (403, "AccessDenied")
        assert tasks.json()["message"] == "current user api does not support asynchronous calls"
        assert (other.status_code, other.json()["code"]) == (400, "InvalidParameter")
        assert other.json()["message"].startswith("url error")


@pytest.mark.parametrize(
    ("model", "entry", "text"),
    [
        pytest.param(
            "wan2.5-t2i-preview",
            {"prompt": "a", "images": [URL]},
            "images must be 0 to 0",
            id="t2i",
        ),
        pytest.param("wan2.6-image", message(), "images must be 1 to 4", id="no picture"),
        pytest.param("wan2.6-image", message(*[URL] * 5), "images must be 1 to 4", id="five"),
        pytest.param(
            "wan2.6-image",
            message(data_url(picture((239, 300)))),
            "Image dimensions must be in [240, 8000]",
            id="small",
        ),
        pytest.param("wan2.6-image", message(URL, text=""), "Field required", id="no text"),
        pytest.param(
            "wan2.6-image", {"prompt": "a"}, "No messages found in input", id="older form"
        ),
        pytest.param("qwen-image-edit-plus", message(), "images must be 1 to 3", id="qwen none"),
        pytest.param(
            "qwen-image-edit-plus", message(*[URL] * 4), "images must be 1 to 3", id="qwen four"
        ),
        *(
            pytest.param(
                "qwen-image-edit-plus",
                message(data_url(picture(sides))),
                "Image dimensions must be in [384, 3072]",
                id=f"qwen {sides}",
            )
            for sides in ((383, 400), (400, 3073))
        ),
        pytest.param(
            "wan2.6-image",
            message(data_url(picture(kind="GIF"), "image/gif")),
            "image format error",
            id="gif",
        ),
    ],
)
async def test_limits(model: str, entry: dict[str, Any], text: str) -> None:
    """Each model has its own limits."""
    async with region() as client:
        answer = await client.post({"model": model, "input": entry}, at(model), **asked_as(model))

        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
        assert text in answer.json()["message"]


@pytest.mark.parametrize(
    ("model", "size", "status"),
    [
        pytest.param("wan2.5-t2i-preview", "1280*1280", 200, id="least"),
        pytest.param("wan2.5-t2i-preview", "1440*1440", 200, id="most"),
        pytest.param("wan2.5-t2i-preview", "1024*1024", 400, id="too small"),
        pytest.param("wan2.6-image", "1024*1024", 200, id="an edit's"),
        pytest.param("wan2.6-image", "2048*2048", 200, id="the most of wan2.6"),
        pytest.param("wan2.6-image", "1000*1000", 200, id="between two steps"),
        pytest.param("wan2.6-image", "2064*2048", 400, id="too large"),
        *(
            pytest.param("qwen-image-edit-plus", size, 200, id=f"qwen {size}")
            for size in ("512*512", "2048*2048", "512*2048", "2048*512", "1664*928")
        ),
        *(
            pytest.param("qwen-image-edit-plus", size, 400, id=f"qwen {size}")
            for size in ("511*1024", "1024*511", "2049*1024", "1024*2049")
        ),
    ],
)
async def test_sizes(model: str, size: str, status: int) -> None:
    """What is made by a prompt alone has at least 1280*1280 pixels."""
    table = {"model": model, "input": INPUTS[model], "parameters": {"size": size}}
    async with region() as client:
        answer = await client.post(table, at(model), **asked_as(model))

        assert answer.status_code == status


@pytest.mark.parametrize(
    ("model", "good", "bad", "default"),
    [("wan2.6-image", (1, 4), (0, 5), 4), ("qwen-image-edit-plus", (1, 6), (0, 7), 1)],
)
async def test_counts(model: str, good: list[int], bad: list[int], default: int) -> None:
    """How many pictures one submit may ask for, and gets that asks for none, is the model's."""
    async with region(limits=AccountLimits(submits_per_second=100)) as client:

        async def ask(**parameters: int) -> int:
            table = {"model": model, "input": INPUTS[model], "parameters": parameters}
            return (await client.post(table, at(model), **asked_as(model))).status_code

        assert [await ask(n=n) for n in (*good, *bad)] == [200, 200, 400, 400]
        assert await ask() == 200
        rows = (await client.books())["tasks"]
        assert [row["n"] for row in rows] == [*good, default]


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        pytest.param((1000, 1000), (1024, 1024), id="square"),
        pytest.param((640, 480), (1182, 886), id="landscape"),
        pytest.param((384, 3072), (512, 2048), id="narrower than allowed"),
    ],
)
def test_the_area_of_a_result_is_the_models(sides: Size, expected: Size) -> None:
    """Without a size, what qwen-image-edit-plus makes has about 1024*1024 pixels."""
    sent = (InputPicture("url", "", (400, 4000)), InputPicture("url", "", sides))

    assert SubmitRequest("qwen-image-edit-plus", "p", images=sent).result_size == expected


async def test_the_newer_form_of_results() -> None:
    """Its results are messages with a picture each, without prompt or metrics; failed ones lack."""
    entry = message(URL, text="[sandbox:partial 1]")
    table = {"model": "wan2.6-image", "input": entry, "parameters": {"n": 3}}
    async with region() as client:
        task_id = (await client.post(table, at("wan2.6-image"))).json()["output"]["task_id"]
        client.clock.advance(5)
        running = (await client.query(task_id))["output"]
        client.clock.advance(20)
        ended = await client.query(task_id)

        assert running["task_status"] == "RUNNING"
        output = ended["output"]
        assert (output["task_status"], output["finished"]) == ("SUCCEEDED", True)
        assert "results" not in output
        assert "task_metrics" not in output
        images = [choice["message"]["content"][0]["image"] for choice in output["choices"]]
        assert len(set(images)) == 2
        assert ended["usage"]["image_count"] == 2
        assert ended["usage"]["size"] == "1280*1280"


async def test_a_list_names_the_function() -> None:
    """A row of the list says which function made the task."""
    async with region() as client:
        for model in OF_TASKS:
            await client.post({"model": model, "input": INPUTS[model]}, at(model))
        rows = await client.rows()

        keys = {row["model_name"]: row["user_api_unique_key"] for row in rows}
        assert keys["wan2.5-t2i-preview"] == (
            "apikey:v1:aigc:text2image:image-synthesis:wan2.5-t2i-preview"
        )
        assert keys["wan2.6-t2i"] == "apikey:v1:aigc:image-generation:generation:wan2.6-t2i"
