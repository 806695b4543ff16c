import base64
import json
from typing import Any

import orjson
import pytest

from gateway.domain.edit import Picture
from gateway.domain.errors import InvalidImage, InvalidRequest
from gateway.translate.openai_json import JsonScan, flatten, read_json

PNG = b"\x89PNG\r\n\x1a\n"
DATA = "data:image/png;base64," + base64.b64encode(PNG).decode()
WEB = "https://a.b/c.png"
OF_DATA, OF_WEB = Picture(content=PNG), Picture(url=WEB)


def three(_: object, __: int) -> int:
    return 3


def generation(_: object, count: int) -> int:
    return 3 if count else 0


def scanned(raw: bytes, *, step: int = 10**6) -> JsonScan:
    scan = JsonScan(2**20)
    for at in range(0, len(raw), step):
        scan.feed(raw[at : at + step])
    scan.end()
    return scan


def body(**fields: object) -> bytes:
    return orjson.dumps(fields)


@pytest.mark.parametrize(
    ("message", "pictures"),
    [
        pytest.param({"images": [{"image_url": DATA}]}, [OF_DATA], id="OpenAI's"),
        pytest.param({"images": [{"image_url": WEB}, DATA]}, [OF_WEB, OF_DATA], id="in order"),
        pytest.param({"images": WEB}, [OF_WEB], id="images: text"),
        pytest.param({"image": DATA}, [OF_DATA], id="image: text"),
        pytest.param({"image": [DATA, WEB]}, [OF_DATA, OF_WEB], id="image: list"),
        pytest.param(
            {"image": {"url": WEB, "type": "image_url"}}, [OF_WEB], id="another vendor's object"
        ),
        pytest.param({"images": [{"image_url": {"url": WEB}}]}, [OF_WEB], id="the chat API's"),
        pytest.param({"image_url": WEB}, [OF_WEB], id="a URL of its own"),
        pytest.param({"image_urls": [DATA, WEB]}, [OF_DATA, OF_WEB], id="a list of them"),
        pytest.param({"image": None, "images": [WEB, None]}, [OF_WEB], id="null is absent"),
        pytest.param(
            {"images": [{"image_url": WEB, "file_id": None}]}, [OF_WEB], id="file_id: null"
        ),
    ],
)
def test_pictures(message: dict[str, Any], pictures: list[Picture]) -> None:
    """Pictures are found in OpenAI's shape and in those of hand-written clients."""
    read = read_json(scanned(body(**message)), three)

    assert read.pictures == tuple(pictures)
    assert read.fields == ()


def test_a_generation_has_pictures_or_none() -> None:
    """Without a picture it is of the prompt alone, and null is none."""
    assert read_json(scanned(body(prompt="a cat", image=None)), generation).pictures == ()
    assert read_json(scanned(body(prompt="a cat", image=WEB)), generation).pictures == (OF_WEB,)


@pytest.mark.parametrize("name", ["image", "images", "image_urls"])
def test_a_list_without_pictures(name: str) -> None:
    """Who sends an empty list means to edit, and does not pay for a picture of the prompt alone."""
    with pytest.raises(InvalidRequest, match="the list has no picture") as refused:
        read_json(scanned(body(prompt="a cat", **{name: []})), generation)

    assert refused.value.param == name


@pytest.mark.parametrize(
    ("mask", "ref"),
    [
        pytest.param({"image_url": DATA}, OF_DATA, id="object"),
        pytest.param(WEB, OF_WEB, id="text"),
        pytest.param(None, None, id="null"),
    ],
)
def test_a_mask(mask: object, ref: Picture | None) -> None:
    """A mask comes as an object or as a URL."""
    assert read_json(scanned(body(image=WEB, mask=mask)), three).mask == ref


def test_fields_become_the_text_of_a_form() -> None:
    """Numbers, truths and nested objects become what an SDK would make of them in a form."""
    read = read_json(
        scanned(
            b'{"images":["https://a.b/c.png"],"prompt":"a\\ncat","n":2.0,"seed":7,"x":0.5,'
            b'"watermark":false,"stream":true,"user":null,"z":1e20,'
            b'"parameters":{"prompt_extend":true,"deep":{"er":[1,{"k":"v"}]}},'
            b'"extra_body":{"negative_prompt":""}}'
        ),
        three,
    )

    assert read.fields == (
        ("prompt", "a\ncat"),
        ("n", "2"),
        ("seed", "7"),
        ("x", "0.5"),
        ("watermark", "false"),
        ("stream", "true"),
        ("z", "100000000000000000000"),
        ("parameters[prompt_extend]", "true"),
        ("parameters[deep][er][]", "1"),
        ("parameters[deep][er][][k]", "v"),
        ("extra_body[negative_prompt]", ""),
    )


def test_what_stands_beside_a_picture_is_not_lost() -> None:
    """An unknown member of a picture's object becomes a field, to be refused or listed."""
    read = read_json(
        scanned(body(images=[WEB, {"image_url": WEB, "detail": "high", "type": "x"}])), three
    )

    assert read.fields == (("images[1][detail]", "high"),)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"prompt": "a', id="cut short"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"prompt": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"prompt": "\\ud800"}', id="half a character"),
        pytest.param(b'{"n": NaN}', id="not a number"),
        pytest.param(b'{"n": 1e400}', id="an endless number"),
        pytest.param(
            b'{"image":"https://a.b","x":' + b'{"x":' * 500 + b"1" + b"}" * 501, id="too deep"
        ),
        pytest.param(
            b'{"image":"https://a.b","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="abyss"
        ),
        pytest.param(json.dumps({"image": WEB, "x": [1] * 201}).encode(), id="too many fields"),
    ],
)
def test_a_body_that_is_no_request(raw: bytes) -> None:
    """A body that cannot be read is refused as such."""
    with pytest.raises(InvalidRequest) as refused:
        read_json(scanned(raw), three)

    assert (refused.value.status, refused.value.code) == (400, "invalid_request_body")
    assert refused.value.param is None


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        pytest.param({}, "images", "missing_required_parameter", id="none"),
        pytest.param({"images": []}, "images", "missing_required_parameter", id="an empty list"),
        pytest.param({"images": [WEB] * 4}, "images", "invalid_value", id="too many"),
        pytest.param({"image": [WEB] * 4}, "image", "invalid_value", id="too many of image"),
        pytest.param({"images": [{"file_id": "file-1"}]}, "images", "invalid_value", id="file_id"),
        pytest.param(
            {"image": WEB, "mask": {"file_id": "file-1"}},
            "mask",
            "invalid_value",
            id="mask file_id",
        ),
        pytest.param({"images": [7]}, "images", "invalid_value", id="a number"),
        pytest.param({"images": [{}]}, "images", "invalid_value", id="an empty object"),
        pytest.param({"images": [[WEB]]}, "images", "invalid_value", id="a list in a list"),
        pytest.param({"images": ["ftp://a/b"]}, "images", "invalid_value", id="a bad scheme"),
        pytest.param({"image": WEB, "mask": "x"}, "mask", "invalid_value", id="a bad mask"),
    ],
)
def test_pictures_that_are_refused(message: dict[str, Any], param: str, code: str) -> None:
    """No picture, too many, a file of OpenAI's storage or a bad URL: refused with its field."""
    with pytest.raises(InvalidRequest) as refused:
        read_json(scanned(body(**message)), three)

    assert (refused.value.param, refused.value.code) == (param, code)


def test_a_broken_data_url_is_named_by_its_place() -> None:
    """Which image is broken is said as the prompt would count it."""
    with pytest.raises(InvalidImage, match="image 2"):
        read_json(scanned(body(images=[DATA, "data:image/png;base64,%"])), three)


def test_flattening_drops_null() -> None:
    """Null is what SDKs leave out of a form."""
    assert list(flatten("a", {"b": None, "c": [None]})) == []
