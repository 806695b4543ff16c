"""Each check of a submit's body, word for word."""

import json
from typing import Any

import pytest

from gateway.sandbox.checks import broken_order, read_envelope, read_order
from gateway.sandbox.responses import Refusal
from gateway.sandbox.tasks import Order, Sent

MODEL = "wan2.5-i2i-preview"
SENT = Sent("url", "0" * 64, (1024, 1024))
BODY: dict[str, Any] = {
    "model": MODEL,
    "input": {"prompt": "a hat", "images": ["https://x/a.png"]},
    "parameters": {},
}
BAD_FORM = "Required body invalid, please check the request body format."


def order(table: Any) -> Order:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return read_order(read_envelope(text, (MODEL,)), lambda _: SENT)


def with_input(**fields: Any) -> dict[str, Any]:
    return {**BODY, "input": {**BODY["input"], **fields}}


def with_parameters(**fields: Any) -> dict[str, Any]:
    return {**BODY, "parameters": fields}


def undefined(name: str) -> str:
    return f"The type or value of {name} is out of definition."


def test_defaults() -> None:
    """What is left out has the documented default: four pictures, prompt_extend on."""
    assert order({**BODY, "parameters": None}) == Order(
        MODEL, "a hat", "", (SENT,), 4, None, None, prompt_extend=True, watermark=False
    )


def test_every_field() -> None:
    """What is given is taken."""
    table = with_input(negative_prompt="no cap", images=["https://x/a", "https://x/b"])
    table["parameters"] = {
        "n": 2, "size": "1536*1024", "seed": 2147483647, "prompt_extend": False, "watermark": True
    }  # fmt: skip

    assert order(table) == Order(
        MODEL, "a hat", "no cap", (SENT, SENT), 2, (1536, 1024), 2147483647,
        prompt_extend=False, watermark=True,
    )  # fmt: skip


def test_long_texts_are_cut_in_silence() -> None:
    """A prompt over 2000 and a negative prompt over 500 characters are cut, not refused."""
    read = order(with_input(prompt="帽" * 2001, negative_prompt="x" * 501))

    assert (len(read.prompt), len(read.negative_prompt)) == (2000, 500)


def test_seed_as_digits() -> None:
    """A seed may be a string of digits, as the vendor's Java sample sends it."""
    assert order(with_parameters(seed="12345")).seed == 12345


@pytest.mark.parametrize(
    ("table", "status", "code", "message"),
    [
        pytest.param(b"{", 400, "InvalidParameter", BAD_FORM, id="no-json"),
        pytest.param(b"[]", 400, "InvalidParameter", BAD_FORM, id="no-object"),
        pytest.param(
            {**BODY, "model": ""},
            400,
            "BadRequest.EmptyModel",
            'Required parameter "model" missing from request.',
            id="no-model",
        ),
        pytest.param(
            {**BODY, "model": 5}, 400, "InvalidParameter", undefined("model"), id="model-number"
        ),
        pytest.param(
            {**BODY, "model": "Wan2.5-i2i-preview"},
            400,
            "InvalidParameter",
            "Model not exist.",
            id="model-case",
        ),
        pytest.param(
            {**BODY, "model": "wan2.5-t2i-preview"},
            400,
            "InvalidParameter",
            "url error, please check url！ For details, see:"
            " https://help.aliyun.com/zh/model-studio",
            id="other-route",
        ),
        pytest.param(
            {**BODY, "model": "qwen-image-edit-plus"},
            403,
            "AccessDenied",
            "current user api does not support asynchronous calls",
            id="sync-only",
        ),
        pytest.param(
            {"model": MODEL},
            400,
            "BadRequest.EmptyInput",
            "Required input parameter missing from request.",
            id="no-input",
        ),
        pytest.param(
            {**BODY, "input": "x"},
            400,
            "BadRequest.IllegalInput",
            "The input parameter requires json format.",
            id="input-text",
        ),
        pytest.param(
            {**BODY, "parameters": [1]},
            400,
            "InvalidParameter",
            "check input data style.",
            id="parameters-list",
        ),
    ],
)
def test_envelope_refusals(table: Any, status: int, code: str, message: str) -> None:
    """What is no call of this route is refused with the documented code and text."""
    with pytest.raises(Refusal) as caught:
        order(table)

    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.message) == (status, code, message)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param(with_input(prompt=""), "Field required: input.prompt", id="prompt-empty"),
        pytest.param(with_input(prompt=["x"]), undefined("prompt"), id="prompt-list"),
        pytest.param(
            with_input(negative_prompt=None), undefined("negative_prompt"), id="negative-null"
        ),
        pytest.param(with_input(images=None), "Field required: input.images", id="no-images"),
        pytest.param(with_input(images="https://x"), undefined("images"), id="images-text"),
        pytest.param(with_input(images=[1]), undefined("images"), id="images-number"),
        *(
            pytest.param(
                with_input(images=["https://x"] * count),
                "the parameters must conform to the specification: images must be 1 to 3.",
                id=f"{count}-images",
            )
            for count in (0, 4)
        ),
        *(
            pytest.param(with_parameters(n=n), undefined("n"), id=f"n-{n}")
            for n in (0, 5, "2", True, 1.0, None)
        ),
        *(
            pytest.param(with_parameters(size=size), undefined("size"), id=f"size-{size}")
            for size in (
                "1024x1024", "512*512", "767*769", "1792*1024", "2000*400", "1281*1280", 1024, "*"
            )
        ),
        *(
            pytest.param(with_parameters(seed=seed), undefined("seed"), id=f"seed-{seed}")
            for seed in (-1, 2147483648, "x", "99999999999", True, 1.5)
        ),
        pytest.param(
            with_parameters(prompt_extend="true"), undefined("prompt_extend"), id="extend-text"
        ),
        pytest.param(with_parameters(watermark=0), undefined("watermark"), id="watermark-number"),
    ],
)  # fmt: skip
def test_field_refusals(table: Any, message: str) -> None:
    """A field outside its rule is 400 InvalidParameter and named."""
    with pytest.raises(Refusal) as caught:
        order(table)

    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.message) == (400, "InvalidParameter", message)


@pytest.mark.parametrize(
    "size", ["768*768", "1280*1280", "1024*1536", "384*1536", "2560*640", "800*1200"]
)
def test_legal_sizes(size: str) -> None:
    """Any size inside the area and ratio is legal, both limits included."""
    width, height = size.split("*")

    assert order(with_parameters(size=size)).size == (int(width), int(height))


@pytest.mark.parametrize(
    ("table", "kept"),
    [
        pytest.param(with_parameters(n=5), Order(MODEL, "a hat", n=4), id="n"),
        pytest.param(with_parameters(n=2, seed=-1), Order(MODEL, "a hat", n=2), id="seed"),
        pytest.param(with_input(prompt=7), Order(MODEL, "", n=4), id="prompt"),
    ],
)
def test_broken_order(table: dict[str, Any], kept: Order) -> None:
    """Of an edit that fails inside its task, the prompt and the count are kept where they can."""
    assert broken_order(read_envelope(json.dumps(table).encode(), (MODEL,))) == kept


@pytest.mark.parametrize(
    ("sides", "made"),
    [
        pytest.param((1000, 1000), (1280, 1280), id="square"),
        pytest.param((640, 480), (1478, 1108), id="landscape"),
        pytest.param((400, 4000), (640, 2560), id="narrower-than-allowed"),
    ],
)
def test_made_size(sides: tuple[int, int], made: tuple[int, int]) -> None:
    """Without a size, the area is 1280*1280 in the ratio of the last picture."""
    assert Order("m", "p", images=(SENT, Sent("url", "", sides))).made_size == made
    assert Order("m", "p", images=(SENT,), size=(800, 1200)).made_size == (800, 1200)
