"""Each model of a region: where it is served, in which form, within which limits."""

from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from gateway.sandbox import AccountLimits
from gateway.sandbox.checks import _count, _images
from gateway.sandbox.models import (
    EDITS,
    MESSAGES,
    PAINTING,
    RULES,
    SYNCHRONOUS_PATH,
    SYNTHESIS,
    rules_of,
)
from gateway.sandbox.responses import Refusal
from gateway.sandbox.tasks import InputPicture, Size, SubmitRequest
from tests.sandbox.region_client import (
    RegionClient,
    data_url,
    images,
    message,
    picture,
    region,
)

pytestmark = pytest.mark.anyio

URL = "https://pictures.example/a.png"


def input_of(model: str) -> dict[str, Any]:
    """What a submit needs at least."""
    rules = RULES[model]
    urls = [URL] * rules.images.start
    if rules.form == "messages":
        return message(*urls)
    return {"prompt": "a hat", "images": urls} if urls else {"prompt": "a hat"}


INPUTS = {model: input_of(model) for model in RULES}
OF_TASKS = [model for model in RULES if not RULES[model].synchronous]


def at(model: str) -> str:
    return f"/api/v1{RULES[model].path}"


def requested_as(model: str) -> dict[str, str]:
    """The header that says whether a task is wanted."""
    return {"x-dashscope-async": "disable" if RULES[model].synchronous else "enable"}


def test_a_model_that_a_config_adds() -> None:
    """It goes by the rules of wan2.5's edits."""
    assert rules_of("another") is EDITS


@pytest.mark.parametrize("path", [SYNTHESIS, PAINTING, MESSAGES])
async def test_a_model_is_served_at_its_path(path: str) -> None:
    """At the path of another model the region says what DashScope says: url error."""
    async with region() as client:
        for model in OF_TASKS:
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


async def test_the_path_that_answers_at_once() -> None:
    """It serves every model of the newer form, refuses the header of tasks, and knows no other."""
    async with region() as client:
        path = f"/api/v1{SYNCHRONOUS_PATH}"
        for model, rules in RULES.items():
            table = {"model": model, "input": INPUTS[model], "parameters": {}}
            tasks = await client.post(table, path)
            answer = await client.post(table, path, **{"x-dashscope-async": "disable"})

            assert (tasks.status_code, tasks.json()["code"]) == (403, "AccessDenied")
            assert tasks.json()["message"] == "current user api does not support asynchronous calls"
            if rules.form == "messages":
                assert answer.json()["output"]["choices"], model
            else:
                assert answer.json()["message"].startswith("url error")


@pytest.mark.parametrize(
    ("model", "entry", "text"),
    [
        pytest.param(
            "wan2.5-t2i-preview",
            {"prompt": "a", "images": [URL]},
            "images must be 0 to 0",
            id="t2i",
        ),
        pytest.param("wan2.6-image", message(), "must contain 1 to 4 images", id="no picture"),
        pytest.param("wan2.6-image", message(*[URL] * 5), "must contain 1 to 4 images", id="five"),
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
        pytest.param(
            "qwen-image-edit-plus", message(), "must contain 1 to 3 images", id="qwen none"
        ),
        pytest.param(
            "qwen-image-edit-plus",
            message(*[URL] * 4),
            "must contain 1 to 3 images",
            id="qwen four",
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
        answer = await client.post(
            {"model": model, "input": entry}, at(model), **requested_as(model)
        )

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
        answer = await client.post(table, at(model), **requested_as(model))

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
            return (await client.post(table, at(model), **requested_as(model))).status_code

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
        for model in ("wan2.5-t2i-preview", "wan2.6-t2i"):
            await client.post({"model": model, "input": INPUTS[model]}, at(model))
        rows = await client.rows()

        keys = {row["model_name"]: row["user_api_unique_key"] for row in rows}
        assert keys["wan2.5-t2i-preview"] == (
            "apikey:v1:aigc:text2image:image-synthesis:wan2.5-t2i-preview"
        )
        assert keys["wan2.6-t2i"] == "apikey:v1:aigc:image-generation:generation:wan2.6-t2i"


def sync(model: str, *urls: str, text: str = "a hat", **parameters: Any) -> dict[str, Any]:
    return {"model": model, "input": message(*urls, text=text), "parameters": parameters}


async def answer_of(client: RegionClient, table: dict[str, Any]) -> httpx.Response:
    path = f"/api/v1{SYNCHRONOUS_PATH}"
    return await client.post(table, path, **{"x-dashscope-async": "disable"})


@pytest.mark.parametrize(
    ("model", "size", "text"),
    [
        ("wan2.7-image", "512*512", "Total pixels (262144) must be between 589824 and 16777216"),
        ("wan2.6-t2i", "1536*1536", "Total pixels (2359296) must be between 589824 and 2073600."),
        (
            "qwen-image-2.0",
            "100*100",
            "Image area must be between 262144 (512x512) and 4194304 (2048x2048) pixels",
        ),
        (
            "qwen-image-3.0-pro",
            "2561*2561",
            (
                "Image area must be between 262144 (512x512) and 6553600 (2560x2560) pixels"
                " for t2i requests"
            ),
        ),
        ("qwen-image-3.0", "1K", "Invalid size format: 1K. Expected format: '<width>*<height>'"),
        ("z-image-turbo", "100*100", "Image area must be between 262144 and 4194304 pixels"),
        (
            "qwen-image-plus",
            "1024*1024",
            (
                "The size does not match the allowed size"
                " 1664*928,1472*1104,1328*1328,1104*1472,928*1664"
            ),
        ),
        ("qwen-image-max", "9999*9999", "Size 9999*9999 is out of range [512*512, 1664*1664]"),
    ],
)
async def test_words_of_refusal(model: str, size: str, text: str) -> None:
    """A size that a model does not make is refused in its own words."""
    async with region() as client:
        answer = await answer_of(client, sync(model, size=size))

        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
        assert answer.json()["message"] == text


async def test_which_check_comes_first() -> None:
    """qwen-image-3.0 looks at n before the size; the others look at the size first."""
    async with region() as client:
        wrong: dict[str, Any] = {"n": 99, "size": "1*1"}
        of_qwen = await answer_of(client, sync("qwen-image-3.0", **wrong))
        of_wan = await answer_of(client, sync("wan2.7-image", **wrong))

        assert of_qwen.json()["message"] == "The type or value of n is out of definition."
        assert of_wan.json()["message"].startswith("Total pixels")


@pytest.mark.parametrize(
    ("model", "urls", "parameters", "sizes"),
    [
        ("wan2.7-image", (), {}, {(2048, 2048)}),
        ("wan2.7-image", (), {"size": "1K"}, {(1024, 1024)}),
        ("wan2.6-image", (URL,), {"size": "1K"}, {(1280, 1280)}),
        ("wan2.6-image", (URL,), {"size": "1000*1000"}, {(992, 992)}),
        ("qwen-image-3.0", (), {}, {(2048, 2048), (2752, 1536), (1440, 2560)}),
        ("qwen-image-3.0", (URL,), {"size": "1024*1024"}, {(2048, 2048)}),
        ("qwen-image-2.0", (), {"size": "1033*1032"}, {(1040, 1024), (1040, 1040)}),
        ("qwen-image-edit", (URL,), {}, {(1024, 1024)}),
        ("qwen-image-max", (), {}, {(1664, 928)}),
        ("z-image-turbo", (), {}, {(1024, 1536)}),
    ],
)
async def test_sizes_of_results(
    model: str, urls: tuple[str, ...], parameters: dict[str, str], sizes: set[Size]
) -> None:
    """What is made is what the service was seen to make, which is not always what was asked."""
    given = parameters.get("size")
    size = None if given is None else RULES[model].results.read(given, of_pictures=bool(urls))
    area = RULES[model].results.tokens.get(given or "")
    inputs = tuple(InputPicture("url", "", (1024, 1024)) for _ in urls)

    for prompt in "abcdefgh":
        submitted = SubmitRequest(model, prompt, images=inputs, size=size, area=area)
        assert submitted.result_size in sizes


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("wan2.7-image", {"image_count", "size", "input_tokens", "output_tokens", "total_tokens"}),
        (
            "qwen-image-3.0-pro",
            {
                "output_width",
                "output_height",
                "output_image_count",
                "output_image_type",
                "input_image_count",
                "input_image_type",
            },
        ),
        ("qwen-image-2.0", {"image_count", "width", "height"}),
    ],
)
async def test_usage(model: str, fields: set[str]) -> None:
    """Each family tells in fields of its own what was made."""
    async with region() as client:
        answer = await answer_of(client, sync(model, n=1))

        assert set(answer.json()["usage"]) == fields


async def test_two_pictures_are_parts_of_one_choice() -> None:
    """That is how qwen's models answer; a region can have each in a choice of its own."""
    table = sync("qwen-image-3.0", n=2)
    async with region() as client:
        one = (await answer_of(client, table)).json()["output"]
    async with region(choices="each") as client:
        each = (await answer_of(client, table)).json()["output"]

    assert [len(it["message"]["content"]) for it in one["choices"]] == [2]
    assert [len(it["message"]["content"]) for it in each["choices"]] == [1, 1]
    assert one["rewrite_status"] == "success"


async def test_a_picture_may_have_its_prompt_beside_it() -> None:
    """z-image-turbo names the prompt that it used, as it stands unless it is to be extended."""
    async with region() as client:
        answer = (await answer_of(client, sync("z-image-turbo"))).json()["output"]

        picture_part, text_part = answer["choices"][0]["message"]["content"]
        assert picture_part["image"].startswith("http")
        assert text_part == {"text": "a hat"}


@pytest.mark.parametrize("plain", [True, False])
async def test_a_transparent_picture(*, plain: bool) -> None:
    """qwen-image-2.1-pro makes one if the prompt asks for it; another model does not."""
    kind = "plain" if plain else "made"
    async with region(picture=kind, plain_bytes=1000) as client:
        modes = []
        for model in ("qwen-image-2.1-pro", "qwen-image-3.0"):
            table = sync(model, text="a hat, transparent background", size="512*512")
            (url,) = images(await answer_of(client, table))
            with Image.open(BytesIO((await client.http.get(url)).content)) as made:
                modes.append(made.has_transparency_data)

    assert modes == [True, False]


async def test_a_failed_task_tells_little() -> None:
    """Of the newer models it has a code and a message, neither times nor counts."""
    async with region() as client:
        table = {"model": "qwen-image-3.0", "input": message(text="[sandbox:fail InternalError]")}
        task_id = (await client.post(table, at("qwen-image-3.0"))).json()["output"]["task_id"]
        client.clock.advance(30)
        output = (await client.query(task_id))["output"]

    assert set(output) == {"task_id", "task_status", "code", "message"}


async def test_the_rate_of_a_model() -> None:
    """5 a minute is one each 12 s, and another model has a rate of its own."""
    async with region() as client:

        async def submit(model: str) -> int:
            table = {"model": model, "input": message()}
            return (await client.post(table, at(model))).status_code

        first = [await submit("qwen-image-3.0-pro") for _ in range(2)]
        other = await submit("qwen-image-3.0")
        client.clock.advance(12)
        assert [*first, other, await submit("qwen-image-3.0-pro")] == [200, 429, 200, 200]


@pytest.mark.parametrize(
    ("name", "model", "status"),
    [
        ("tokyo", "wan2.6-t2i", 400),
        ("tokyo", "qwen-image-3.0", 200),
        ("virginia", "wan2.6-t2i", 200),
        ("virginia", "wan2.7-image", 400),
    ],
)
async def test_models_of_a_region(name: str, model: str, status: int) -> None:
    """Outside of Beijing and Singapore there are fewer."""
    async with region(region=name) as client:
        table = {"model": model, "input": INPUTS[model]}

        assert (await client.post(table, at(model))).status_code == status


async def test_a_dated_snapshot() -> None:
    """A snapshot is served as its model is."""
    async with region() as client:
        table = {"model": "wan2.7-image-2027-01-31", "input": message()}

        assert (await client.post(table, at("wan2.7-image"))).status_code == 200


def test_too_many_pictures() -> None:
    """A model that also draws of words alone says how many pictures it takes."""
    rules = RULES["wan2.7-image"]
    with pytest.raises(Refusal, match="supports 0~9 image content items"):
        _images(("a",) * 10, rules)


def test_a_model_of_one_picture() -> None:
    """It says so, where others call the number undefined."""
    with pytest.raises(Refusal, match="num_images_per_prompt must be 1"):
        _count({"n": 2}, RULES["z-image-turbo"])
