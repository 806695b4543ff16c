"""Every check of a submit's body and its pictures, with the error text."""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from gateway.sandbox.checks import (
    PictureRules,
    SubmitInput,
    check_picture,
    prompt_if_readable,
    read_envelope,
    read_input,
    read_request,
    readable_part,
)
from gateway.sandbox.models import BodyForm
from gateway.sandbox.responses import Refusal
from gateway.sandbox.tasks import InputPicture, SubmitRequest
from tests.sandbox.region_client import data_url, picture


def message(*content: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(content)}]}


def test_the_older_form() -> None:
    """Prompt, negative prompt and pictures are fields; no pictures is not the same as none."""
    entry = {"prompt": "a hat", "negative_prompt": "no cap", "images": ["u"]}

    assert read_input("prompt", entry, {}) == SubmitInput("a hat", "no cap", ("u",))
    assert read_input("prompt", {"prompt": "a hat"}, {}) == SubmitInput("a hat", "", None)


def test_the_newer_form() -> None:
    """One message holds a text and pictures in any order; the negative prompt is a parameter."""
    entry = message({"image": "u"}, {"text": "a hat"}, {"image": "v"})

    assert read_input("messages", entry, {"negative_prompt": "no cap"}) == SubmitInput(
        "a hat", "no cap", ("u", "v")
    )


@pytest.mark.parametrize(
    ("form", "entry", "text"),
    [
        pytest.param("prompt", {"prompt": 1}, "type or value of prompt", id="prompt"),
        pytest.param("prompt", {"images": "u"}, "type or value of images", id="images"),
        pytest.param("messages", {"prompt": "a"}, "No messages found in input", id="none"),
        pytest.param("messages", {"messages": []}, "No messages found in input", id="empty"),
        pytest.param(
            "messages", {"messages": [{}, {}]}, "messages length only support 1", id="two"
        ),
        pytest.param("messages", message(role="system"), "value of messages", id="role"),
        pytest.param("messages", message({"image": "u"}), "lack of image or text", id="no text"),
        pytest.param(
            "messages", message({"text": "a"}, {"text": "b"}), "lack of image or text", id="texts"
        ),
        pytest.param("messages", message({"text": "a"}, "b"), "lack of image or text", id="string"),
        pytest.param("messages", message({"text": 1}), "type or value of content", id="number"),
    ],
)
def test_what_is_wrong(form: BodyForm, entry: dict[str, Any], text: str) -> None:
    """The first thing that is wrong is told."""
    with pytest.raises(Refusal) as refused:
        read_input(form, entry, {})

    assert text in refused.value.message


@pytest.mark.parametrize(
    ("form", "entry", "prompt"),
    [
        pytest.param("prompt", {"prompt": "a", "images": 1}, "a", id="older"),
        pytest.param("prompt", {"prompt": 1}, "", id="no text"),
        pytest.param("messages", message({"text": "a"}), "a", id="newer"),
        pytest.param("messages", {"messages": 1}, "", id="no message"),
    ],
)
def test_prompt_of_a_broken_body(form: BodyForm, entry: dict[str, Any], prompt: str) -> None:
    """A prompt that can be read is kept, whatever else is wrong."""
    assert prompt_if_readable(form, entry) == prompt


RULES = PictureRules(max_bytes=10 * 1024 * 1024, refuse_alpha=False, decodes=True)
NOT_A_PICTURE = "The file format is illegal and cannot be opened."
BAD_URL = "The provided URL does not appear to be valid. Ensure it is correctly formatted."


def never(url: str) -> bytes:
    raise AssertionError(url)


@pytest.mark.parametrize(
    ("kind", "mime"),
    [
        pytest.param("PNG", "image/png", id="png"),
        pytest.param("JPEG", "image/jpeg", id="jpeg"),
        pytest.param("JPEG", "image/jpg", id="jpg"),
        pytest.param("BMP", "IMAGE/BMP", id="bmp"),
        pytest.param("WEBP", "image/webp", id="webp"),
    ],
)
def test_data_urls(kind: str, mime: str) -> None:
    """Every documented format is taken inline, with its digest and sides."""
    data = picture((384, 500), kind)

    sent = check_picture(data_url(data, mime), RULES, never)

    assert (sent.kind, sent.sha256, sent.size) == ("data", sha256(data).hexdigest(), (384, 500))
    assert sent.data == data


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_formats_of_one_model(kind: str) -> None:
    """A model may take more formats than all do."""
    entry = data_url(picture(kind=kind), f"image/{kind.lower()}")
    rules = replace(RULES, formats=(*RULES.formats, kind))

    assert check_picture(entry, rules, never).size == (640, 480)
    with pytest.raises(Refusal, match="image format error"):
        check_picture(entry, RULES, never)


def test_urls_are_not_fetched() -> None:
    """A web URL stands for itself: its digest, and the sides of a placeholder."""
    sent = check_picture("https://x.example/a.png", RULES, never)

    assert sent.sha256 == sha256(b"https://x.example/a.png").hexdigest()
    assert (sent.kind, sent.size, sent.data) == ("url", (1024, 1024), None)


def test_uploaded() -> None:
    """An ``oss://`` URL is looked up, and its picture checked like any."""
    sent = check_picture("oss://a/b.png", RULES, {"oss://a/b.png": picture()}.__getitem__)

    assert (sent.kind, sent.size) == ("oss", (640, 480))


def test_bytes_are_not_kept_where_nothing_is_made_of_them() -> None:
    """Without decoding, a cut-off picture passes and only its digest stays."""
    rules = PictureRules(max_bytes=10**7, refuse_alpha=False, decodes=False)

    sent = check_picture(data_url(picture()[:-20]), rules, never)

    assert sent.data is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param("ftp://x/a.png", BAD_URL, id="scheme"),
        pytest.param("iVBORw0KGgo", BAD_URL, id="bare-base64"),
        pytest.param("data:image/png,abc", "image format error", id="no-base64"),
        pytest.param("data:image/gif;base64,R0lGODlh", "image format error", id="gif"),
        pytest.param("data:image/png;base64,%%%", "image format error", id="bad-base64"),
        pytest.param("data:image/png;base64,é", "image format error", id="not-ascii"),
        pytest.param(data_url(b"hello"), NOT_A_PICTURE, id="no-picture"),
        pytest.param(data_url(picture()[:-200]), NOT_A_PICTURE, id="cut-off"),
        pytest.param(data_url(picture(kind="TIFF")), NOT_A_PICTURE, id="tiff"),
        pytest.param(
            data_url(picture((383, 500))), "Image dimensions must be in [384, 5000]", id="narrow"
        ),
        pytest.param(
            data_url(picture((400, 5001))), "Image dimensions must be in [384, 5000]", id="tall"
        ),
    ],
)
def test_refusals(entry: str, message: str) -> None:
    """What is not a picture inside the rules is 400 InvalidParameter."""
    with pytest.raises(Refusal) as caught:
        check_picture(entry, RULES, never)

    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.message) == (400, "InvalidParameter", message)


@pytest.mark.parametrize(
    ("rules", "entry", "text"),
    [
        pytest.param(
            PictureRules(100, refuse_alpha=False, decodes=True),
            data_url(picture()),
            "file size is too large",
            id="bytes",
        ),
        pytest.param(
            PictureRules(10**7, refuse_alpha=True, decodes=True),
            data_url(picture(mode="RGBA")),
            "transparent channel",
            id="alpha",
        ),
    ],
)
def test_rules(rules: PictureRules, entry: str, text: str) -> None:
    """The size limit and the alpha rule are the region's to set."""
    with pytest.raises(Refusal, match=text):
        check_picture(entry, rules, never)


def test_alpha_is_ignored_by_default() -> None:
    """A PNG with an alpha channel is taken."""
    assert check_picture(data_url(picture(mode="RGBA")), RULES, never).size == (640, 480)


MODEL = "wan2.5-i2i-preview"
SENT = InputPicture("url", "0" * 64, (1024, 1024))
BODY: dict[str, Any] = {
    "model": MODEL,
    "input": {"prompt": "a hat", "images": ["https://x/a.png"]},
    "parameters": {},
}
BAD_FORM = "Required body invalid, please check the request body format."


def request(table: Any) -> SubmitRequest:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return read_request(read_envelope(text, (MODEL,).__contains__), lambda _: SENT)


def with_input(**fields: Any) -> dict[str, Any]:
    return {**BODY, "input": {**BODY["input"], **fields}}


def with_parameters(**fields: Any) -> dict[str, Any]:
    return {**BODY, "parameters": fields}


def undefined(name: str) -> str:
    return f"The type or value of {name} is out of definition."


def test_defaults() -> None:
    """What is left out has the documented default: four pictures, prompt_extend on."""
    assert request({**BODY, "parameters": None}) == SubmitRequest(
        MODEL, "a hat", "", (SENT,), 4, None, None, prompt_extend=True, watermark=False
    )


def test_every_field() -> None:
    """What is given is taken."""
    table = with_input(negative_prompt="no cap", images=["https://x/a", "https://x/b"])
    table["parameters"] = {
        "n": 2, "size": "1536*1024", "seed": 2147483647, "prompt_extend": False, "watermark": True
    }  # fmt: skip

    assert request(table) == SubmitRequest(
        MODEL, "a hat", "no cap", (SENT, SENT), 2, (1536, 1024), 2147483647,
        prompt_extend=False, watermark=True,
    )  # fmt: skip


def test_long_texts_are_cut_in_silence() -> None:
    """A prompt over 2000 and a negative prompt over 500 characters are cut, not refused."""
    read = request(with_input(prompt="帽" * 2001, negative_prompt="x" * 501))

    assert (len(read.prompt), len(read.negative_prompt)) == (2000, 500)


def test_seed_as_digits() -> None:
    """A seed may be a string of digits, as the vendor's Java sample sends it."""
    assert request(with_parameters(seed="12345")).seed == 12345


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
        request(table)

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
        request(table)

    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.message) == (400, "InvalidParameter", message)


@pytest.mark.parametrize(
    "size", ["768*768", "1280*1280", "1024*1536", "384*1536", "2560*640", "800*1200"]
)
def test_legal_sizes(size: str) -> None:
    """Any size inside the area and ratio is legal, both limits included."""
    width, height = size.split("*")

    assert request(with_parameters(size=size)).size == (int(width), int(height))


@pytest.mark.parametrize(
    ("table", "kept"),
    [
        pytest.param(with_parameters(n=5), SubmitRequest(MODEL, "a hat", n=4), id="n"),
        pytest.param(with_parameters(n=2, seed=-1), SubmitRequest(MODEL, "a hat", n=2), id="seed"),
        pytest.param(with_input(prompt=7), SubmitRequest(MODEL, "", n=4), id="prompt"),
    ],
)
def test_broken_order(table: dict[str, Any], kept: SubmitRequest) -> None:
    """Of an edit that fails inside its task, the prompt and the count are kept where they can."""
    assert readable_part(read_envelope(json.dumps(table).encode(), (MODEL,).__contains__)) == kept


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        pytest.param((1000, 1000), (1280, 1280), id="square"),
        pytest.param((640, 480), (1478, 1108), id="landscape"),
        pytest.param((400, 4000), (640, 2560), id="narrower-than-allowed"),
    ],
)
def test_made_size(sides: tuple[int, int], expected: tuple[int, int]) -> None:
    """Without a size, the area is 1280*1280 in the ratio of the last picture."""
    assert (
        SubmitRequest("m", "p", images=(SENT, InputPicture("url", "", sides))).result_size
        == expected
    )
    assert SubmitRequest("m", "p", images=(SENT,), size=(800, 1200)).result_size == (800, 1200)
