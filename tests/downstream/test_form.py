import asyncio
import itertools
from pathlib import Path

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from gateway.domain.errors import GatewayError, InvalidRequest
from gateway.downstream.body import Limits
from gateway.downstream.bytes_budget import Bytes
from gateway.downstream.form import Form, read_form
from tests.downstream.house import FILES, FORM, PNG

pytestmark = pytest.mark.anyio

BODIES = Path(__file__).parent.parent / "data" / "bodies"
CAT, DOG = (BODIES / "cat.png").read_bytes(), (BODIES / "dog.png").read_bytes()
LIMITS = Limits()
DATA_URL = "data:image/png;base64,iVBORw0KGgo="


def captured(name: str) -> tuple[dict[str, str], bytes]:
    head, _, body = (BODIES / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body


async def read(
    headers: dict[str, str],
    *pieces: bytes,
    limits: Limits = LIMITS,
    budget: int = 2**24,
    most: int = 3,
) -> Form:
    script: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    script.append({"type": "http.request"})

    async def receive() -> Message:
        return script.pop(0)

    with Bytes(budget, lambda _: None).reserve() as share:
        return await read_form(receive, headers, limits, share, lambda _: most)


def body_of(**kwargs: object) -> tuple[dict[str, str], bytes]:
    request = httpx.Request("POST", "http://gateway/", **kwargs)  # type: ignore[arg-type]  # rows
    return dict(request.headers), request.read()


@pytest.mark.parametrize(
    ("name", "fields", "pictures"),
    [
        pytest.param(
            "openai-python-list",
            {
                "prompt": "ein Hut 🎩\nbitte",
                "model": "gpt-image-1",
                "n": "2",
                "seed": "42",
                "watermark": "false",
                "parameters[prompt_extend]": "true",
            },
            [CAT, DOG],
            id="openai-python-list",
        ),
        pytest.param(
            "openai-python-no-filename", {"prompt": "a hat"}, [CAT], id="openai-python-no-filename"
        ),
        pytest.param(
            "open-webui-aiohttp",
            {"model": "gpt-image-1", "prompt": "a hät", "n": "1"},
            [CAT, DOG],
            id="open-webui-aiohttp",
        ),
        pytest.param("curl", FORM, [CAT, DOG], id="curl-repeats-image"),
        pytest.param("ai-sdk-one-image", {**FORM, "n": "1"}, [CAT], id="ai-sdk-one-image"),
        pytest.param(
            "ai-sdk-two-images",
            {**FORM, "n": "1", "size": "1024x1024"},
            [CAT, DOG],
            id="ai-sdk-two-images",
        ),
        pytest.param(
            "librechat-axios",
            {**FORM, "quality": "auto", "size": "auto"},
            [CAT],
            id="librechat-axios",
        ),
        pytest.param("n8n", {**FORM, "n": "1", "size": "1024x1024"}, [CAT], id="n8n-chunked"),
        pytest.param(
            "openai-node-4",
            {**FORM, "prompt": "a hat\r\nand shoes"},
            [CAT],
            id="openai-node-4-epilogue",
        ),
        pytest.param(
            "openai-node-7-streamed", {"prompt": "a hat"}, [CAT], id="openai-node-7-streamed"
        ),
        pytest.param("quoted-boundary", {"prompt": "a hat"}, [CAT], id="quoted-boundary"),
        pytest.param("gbk-filename", {"prompt": "a hat"}, [CAT, DOG], id="gbk-filename-and-order"),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10**6], ids=["bytewise", "by-7", "whole"])
async def test_captured_bodies(
    name: str, fields: dict[str, str], pictures: list[bytes], step: int
) -> None:
    """Each customer's body gives its fields and its pictures byte for byte, wherever it is cut."""
    headers, body = captured(name)

    form = await read(headers, *(body[at : at + step] for at in range(0, len(body), step)))

    assert dict(form.fields) == fields
    assert [picture.content for picture in form.pictures] == pictures
    assert form.mask is None


@settings(max_examples=60, deadline=None)
@given(content=st.binary(min_size=1, max_size=300), cuts=st.lists(st.integers(0, 900), max_size=9))
async def test_any_bytes_cut_anywhere(content: bytes, cuts: list[int]) -> None:
    """A picture of any bytes comes through pieces cut at any places."""
    headers, body = body_of(
        data={"prompt": "ü\r\n--x"}, files={"image": ("a", content + b"\r", "image/png")}
    )
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})

    form = await read(headers, *(body[a:b] for a, b in itertools.pairwise(places)))

    assert form.fields == (("prompt", "ü\r\n--x"),)
    assert form.pictures[0].content == content + b"\r"


@settings(max_examples=100, deadline=None)
@given(junk=st.binary(max_size=200), at=st.integers(0, 500))
async def test_garbage_is_refused_or_read(junk: bytes, at: int) -> None:
    """Whatever is written into a body, it is read or refused as the customer's fault."""
    headers, body = captured("openai-node-4")

    try:
        form = await read(headers, body[:at] + junk + body[at + len(junk) :])
    except GatewayError as refusal:
        assert refusal.status in (400, 413)  # noqa: PT017 - both outcomes are right
    else:
        assert form.pictures


def multipart(*parts: bytes) -> tuple[dict[str, str], bytes]:
    body = b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + b"--B--"
    return {"content-type": "multipart/form-data; boundary=B"}, body


def part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value


IMAGE = part("image", PNG, '; filename="a.png"')


@pytest.mark.parametrize(
    ("parts", "content", "url"),
    [
        pytest.param([part("image", DATA_URL.encode())], PNG[:8], "", id="data-url"),
        pytest.param(
            [part("image", b"https://a.example/cat.png")],
            b"",
            "https://a.example/cat.png",
            id="https-url",
        ),
        pytest.param([part("image", PNG)], PNG, "", id="bytes-that-are-no-text"),
        pytest.param(
            [part("image[]", PNG, "\r\nContent-Type: image/png")], PNG, "", id="type-without-name"
        ),
        pytest.param(
            [part("image", DATA_URL.encode(), "\r\nContent-Type: text/plain")],
            PNG[:8],
            "",
            id="text-type",
        ),
    ],
)
async def test_pictures_without_a_file_name(parts: list[bytes], content: bytes, url: str) -> None:
    """A picture field without a file name is told by its Content-Type and by what it holds."""
    form = await read(*multipart(*parts))

    assert (form.pictures[0].content, form.pictures[0].url) == (content, url)
    assert form.fields == ()


@pytest.mark.parametrize(
    ("given_part", "field"),
    [
        pytest.param(part("prompt", b"caf\xe9"), ("prompt", "café"), id="latin-1"),
        pytest.param(
            part("prompt", b"a hat", '; filename="p.txt"'), ("prompt", "a hat"), id="prompt-as-file"
        ),
        pytest.param(
            part("markup", PNG, '; filename="m.png"'), ("markup", "[file]"), id="unknown-file"
        ),
        pytest.param(part("größe", b"1"), ("größe", "1"), id="utf-8-name"),
    ],
)
async def test_texts(given_part: bytes, field: tuple[str, str]) -> None:
    """Texts are UTF-8, else latin-1; a file that no field takes is named and not kept."""
    form = await read(*multipart(given_part, IMAGE))

    assert form.fields == (field,)


async def test_mask_is_told_apart() -> None:
    """The mask is no input picture."""
    form = await read(*multipart(IMAGE, part("mask", b"\x89MASK", '; filename="m.png"')))

    assert len(form.pictures) == 1
    assert form.mask is not None
    assert form.mask.content == b"\x89MASK"


def json(said: object) -> tuple[dict[str, str], bytes]:
    return {"content-type": "Application/JSON; charset=utf-8"}, orjson.dumps(said)


async def test_json() -> None:
    """A JSON body gives the same as a form."""
    said = {"prompt": "a hat", "images": [{"image_url": DATA_URL}], "mask": {"image_url": DATA_URL}}
    form = await read(*json(said))

    assert form.fields == (("prompt", "a hat"),)
    assert form.pictures[0].content == PNG[:8]
    assert form.mask is not None


URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": "multipart/form-data; boundary=B"}
GOOD = multipart(part("prompt", b"a hat"), IMAGE)[1]


@pytest.mark.parametrize(
    ("headers", "body", "status", "code", "param"),
    [
        pytest.param({}, b"", 400, "unsupported_content_type", None, id="no-content-type"),
        pytest.param(
            {"content-type": "text/plain"}, b"", 400, "unsupported_content_type", None, id="text"
        ),
        pytest.param(
            {"content-type": "multipart/form-data"}, GOOD, 400, "invalid_request_body", None,
            id="no-boundary",
        ),
        pytest.param(
            {"content-type": "multipart/form-data; boundary="}, GOOD, 400, "invalid_request_body",
            None, id="empty-boundary",
        ),
        pytest.param(
            {"content-type": "multipart/form-data; boundary=C"}, GOOD, 400, "invalid_request_body",
            None, id="wrong-boundary",
        ),
        pytest.param(MULTIPART, b"", 400, "invalid_request_body", None, id="empty-body"),
        pytest.param(MULTIPART, GOOD[:-4], 400, "invalid_request_body", None, id="truncated"),
        pytest.param(MULTIPART, GOOD[:90], 400, "invalid_request_body", None, id="cut-in-a-part"),
        pytest.param(
            MULTIPART, b"--B\r\nno header\r\n\r\nx\r\n--B--", 400, "invalid_request_body", None,
            id="malformed-header",
        ),
        pytest.param(
            MULTIPART, b"--B--", 400, "missing_required_parameter", "image", id="no-parts"
        ),
        pytest.param(
            *multipart(part("image", b"", '; filename=""')), 400, "missing_required_parameter",
            "image", id="no-file-chosen",
        ),
        pytest.param(
            *multipart(part("image", b"", '; filename="a.png"')), 400, "invalid_image_file",
            "image", id="empty-file",
        ),
        pytest.param(*multipart(*[IMAGE] * 4), 400, "invalid_value", "image", id="four-images"),
        pytest.param(
            *multipart(IMAGE, part("mask", b"m"), part("mask", b"n")), 400, "invalid_value", "mask",
            id="two-masks",
        ),
        pytest.param(
            *multipart(part("image", b"cat.png")), 400, "invalid_value", "image", id="image-is-text"
        ),
        pytest.param(*json([]), 400, "invalid_request_body", None, id="json-array"),
        pytest.param(
            *json({})[:1], b"{", 400, "invalid_request_body", None, id="json-truncated"
        ),
        pytest.param(
            *captured("aiohttp-without-files"), 400, "missing_required_parameter", "image",
            id="urlencoded",
        ),
        pytest.param(
            URLENCODED, b"&".join([b"a=1"] * 65), 413, "request_too_large", None,
            id="urlencoded-too-many",
        ),
        pytest.param(
            URLENCODED, b"prompt=" + b"x" * 5000, 413, "request_too_large", "prompt",
            id="urlencoded-too-long",
        ),
        pytest.param(
            *multipart(part("prompt", b"x" * 5000)), 413, "request_too_large", "prompt",
            id="text-too-long",
        ),
        pytest.param(
            *multipart(*[part("a", b"1")] * 65), 413, "request_too_large", None, id="too-many-parts"
        ),
        pytest.param(
            *multipart(part("a", b"1", "".join(f"\r\nX-{n}: 1" for n in range(20)))), 413,
            "request_too_large", None, id="too-many-headers",
        ),
        pytest.param(
            *multipart(part("a" * 9000, b"1")), 413, "request_too_large", None, id="header-too-long"
        ),
        pytest.param(
            *multipart(part("image", b"x" * 40000)), 413, "request_too_large", None, id="too-large"
        ),
    ],
)  # fmt: skip
async def test_refusals(
    headers: dict[str, str], body: bytes, status: int, code: str, param: str | None
) -> None:
    """Each way in which a body can be wrong has its status, its code and its field."""
    limits = Limits(max_body_bytes=30_000, max_text_bytes=4096)

    with pytest.raises(GatewayError) as caught:
        await read(headers, body, limits=limits)

    assert (caught.value.status, caught.value.code, caught.value.param) == (status, code, param)


async def test_long_data_url() -> None:
    """A picture as text may be longer than other texts."""
    text = b"data:image/png;base64," + b"iVBO" * 2000

    form = await read(*multipart(part("image", text)), limits=Limits(max_text_bytes=4096))

    assert len(form.pictures[0].content) == 6000


async def test_over_the_budget() -> None:
    """A body for which there is no memory is refused while it arrives, and may come again."""
    with pytest.raises(GatewayError) as caught:
        await read(*body_of(data=FORM, files=FILES), budget=100)

    assert (caught.value.status, caught.value.code, caught.value.retry) == (
        503,
        "server_is_overloaded",
        True,
    )


def test_repr_shows_no_prompt() -> None:
    """A form can be printed without its texts."""
    form = asyncio.run(read(*body_of(data={"prompt": "canary"}, files=FILES)))

    assert "canary" not in repr(form)


@pytest.mark.parametrize("field", ["image", "image[]", "mask"])
async def test_a_generation_takes_no_picture(field: str) -> None:
    """Where the model takes none, a picture or a mask is refused by its name, not dropped."""
    with pytest.raises(InvalidRequest, match="/v1/images/edits") as refused:
        await read(*multipart(part(field, PNG, '; filename="a.png"')), most=0)

    assert refused.value.param == field.removesuffix("[]")


async def test_a_generation_as_a_form() -> None:
    """A form without pictures is all that a generation needs."""
    form = await read(*multipart(part("prompt", b"a hat")), most=0)

    assert form.fields == (("prompt", "a hat"),)
    assert form.pictures == ()
