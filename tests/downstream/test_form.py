"""The fields and pictures of a body: forms as clients send them, and JSON."""

import asyncio
import base64
import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import InvalidRequest
from gateway.translate.openai_pictures import holds_picture
from tests.downstream.bodies import (
    BODIES,
    DATA_URL,
    IMAGE,
    body_of,
    captured,
    json,
    multipart,
    part,
    read,
)
from tests.downstream.harness import FILES, FORM, PNG, limits_of

pytestmark = pytest.mark.anyio

CAT, DOG = (BODIES / "cat.png").read_bytes(), (BODIES / "dog.png").read_bytes()


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
    """Each client's body gives its fields and its pictures byte for byte, wherever it is cut."""
    headers, body = captured(name)

    form = await read(headers, *(body[at : at + step] for at in range(0, len(body), step)))

    assert dict(form.fields) == fields
    assert [picture.content for picture in form.pictures] == pictures
    assert form.mask is None


@settings(max_examples=60, deadline=None)
@given(content=st.binary(min_size=1, max_size=300), cuts=st.lists(st.integers(0, 900), max_size=9))
async def test_any_bytes_cut_anywhere(content: bytes, cuts: list[int]) -> None:
    """A picture of any bytes that are no text of one comes through pieces cut at any places."""
    assume(not holds_picture(content))
    headers, body = body_of(
        data={"prompt": "ü\r\n--x"}, files={"image": ("a", content + b"\r", "image/png")}
    )
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})

    form = await read(headers, *(body[a:b] for a, b in itertools.pairwise(places)))

    assert form.fields == (("prompt", "ü\r\n--x"),)
    assert form.pictures[0].content == content + b"\r"


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
        pytest.param(
            part("prompt", "背景".encode("gbk"), "\r\nContent-Type: text/plain; charset=gbk"),
            ("prompt", "背景"),
            id="gbk",
        ),
        pytest.param(
            part("prompt", "背景".encode("utf-16"), '\r\nContent-Type: text/a;charset="UTF-16"'),
            ("prompt", "背景"),
            id="utf-16",
        ),
        pytest.param(
            part(
                "prompt",
                b"Y2Fm\r\n6Q==",
                "\r\nContent-Type: text/plain; charset=iso-8859-1"
                "\r\nContent-Transfer-Encoding: BASE64",
            ),
            ("prompt", "café"),
            id="latin-1-in-base64",
        ),
        pytest.param(
            part("prompt", b"caf=C3=A9=\r\n!", "\r\nContent-Transfer-Encoding: quoted-printable"),
            ("prompt", "café!"),
            id="quoted-printable",
        ),
        pytest.param(
            part("prompt", "café".encode(), "\r\nContent-Transfer-Encoding: 8bit"),
            ("prompt", "café"),
            id="8bit",
        ),
        pytest.param(part("prompt", b"\xef\xbb\xbfa hat"), ("prompt", "a hat"), id="a-mark"),
        pytest.param(
            part("prompt", b"a hat", '; filename="p.txt"'), ("prompt", "a hat"), id="prompt-as-file"
        ),
        pytest.param(part("größe", b"1"), ("größe", "1"), id="utf-8-name"),
    ],
)
async def test_texts(given_part: bytes, field: tuple[str, str]) -> None:
    """Texts are read in the charset and the transfer encoding of their part, UTF-8 without."""
    form = await read(*multipart(given_part, IMAGE))

    assert form.fields == (field,)


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
async def test_the_charset_of_a_form(first: bool) -> None:
    """A field _charset_ tells the charset of all texts that declare none, wherever it stands."""
    charset = part("_charset_", b"GBK")
    texts = [part("prompt", "背景".encode("gbk")), IMAGE]
    form = await read(*multipart(*([charset, *texts] if first else [*texts, charset])))
    pairs = b"_charset_=gbk&prompt=%B1%B3%BE%B0+x&image=https://a.b/"
    kind = "application/x-www-form-urlencoded"
    urlencoded = await read({"content-type": kind}, *(bytes([byte]) for byte in pairs))
    declared = await read({"content-type": kind + "; charset=gbk"}, pairs[14:])
    headers, body = multipart(*texts)
    of_head = await read({"content-type": headers["content-type"] + "; charset=gbk"}, body)

    assert form.fields == of_head.fields == (("prompt", "背景"),)
    assert urlencoded.fields == declared.fields == (("prompt", "背景 x"),)


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        pytest.param("Content-Transfer-Encoding: base64", base64.encodebytes(CAT), id="base64"),
        pytest.param(
            "Content-Transfer-Encoding: quoted-printable",
            b"=\r\n".join(b"=%02X" % byte for byte in CAT),
            id="quoted-printable",
        ),
        pytest.param("Content-Transfer-Encoding: binary", CAT, id="binary"),
        pytest.param("X-A: 1", b"data:image/png;base64," + base64.b64encode(CAT), id="data-url"),
        pytest.param("X-Other: 1", base64.b64encode(CAT), id="raw-base64"),
    ],
)
@pytest.mark.parametrize("name", ["", '; filename="cat.png"'], ids=["text", "file"])
async def test_pictures_in_other_encodings(headers: str, value: bytes, name: str) -> None:
    """A picture's part is decoded as its headers, or its own first bytes, say."""
    headers_, body = multipart(part("image", value, f"{name}\r\n{headers}"))

    for step in (1, 1000):
        form = await read(
            headers_, *(body[at : at + step] for at in range(0, len(body), step)), most=3
        )
        assert [picture.content for picture in form.pictures] == [CAT]


async def test_base64_that_nobody_encoded() -> None:
    """In an urlencoded form a + of base64 may stand as such."""
    raw = PNG + b"\xfb\xef\xbe" * 9
    text = base64.b64encode(raw)
    assert b"+" in text
    kind = {"content-type": "application/x-www-form-urlencoded"}

    for sent in (text, text.replace(b"+", b"%2B")):
        body = b"prompt=a+hat&&user&image=data:image/png;base64," + sent
        for step in (1, 1000):
            form = await read(kind, *(body[at : at + step] for at in range(0, len(body), step)))
            assert form.fields == (("prompt", "a hat"),)
            assert form.pictures[0].content == raw


@pytest.mark.parametrize("charset", ["gbk", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not-declared"])
async def test_json_in_other_charsets(charset: str, declared: bool) -> None:
    """A JSON body is read in its charset; Unicode's are known by their first bytes."""
    body = f'{{"prompt": "背景", "image": "{DATA_URL}"}}'.encode(charset)
    kind = "application/json" + (f"; charset={charset}" if declared else "")
    if charset == "gbk" and not declared:
        with pytest.raises(InvalidRequest, match="not valid JSON"):
            await read({"content-type": kind}, body)
        return

    form = await read({"content-type": kind}, body)

    assert form.fields == (("prompt", "背景"),)
    assert form.pictures[0].content == PNG[:8]


MASKS = ["mask", "mask[]", "mask[0]", "mask%5B%5D", "mask%5b0%5d"]


@pytest.mark.parametrize("name", MASKS)
async def test_mask_is_told_apart(name: str) -> None:
    """The mask is no input picture, however its name is spelt."""
    form = await read(*multipart(IMAGE, part(name, b"\x89MASK", '; filename="m.png"')))

    assert len(form.pictures) == 1
    assert form.mask is not None
    assert form.mask.content == b"\x89MASK"


@pytest.mark.parametrize("name", MASKS)
async def test_mask_as_text(name: str) -> None:
    """A mask as a data URL, in JSON or urlencoded, is the mask by the same names."""
    url = DATA_URL
    of_json = await read(*json({"image": url, name: [url] if name == "mask[]" else url}))
    urlencoded = await read(*body_of(data={"image": url, name: url}))

    for form in (of_json, urlencoded):
        assert (form.fields, len(form.pictures)) == ((), 1)
        assert form.mask is not None
        assert form.mask.content == PNG[:8]


async def test_names_with_percents() -> None:
    """Brackets of a name may come percent-encoded, and count as brackets."""
    names = ("image%5B1%5D", "image%5b0%5d", "image%5B%5D")
    form = await read(
        *multipart(*(part(name, name.encode(), '; filename="a.png"') for name in names))
    )

    assert [picture.content.decode() for picture in form.pictures] == [
        names[2],
        names[1],
        names[0],
    ]


async def test_json_names_with_brackets() -> None:
    """A form's names in JSON hold pictures, too, in the order of their numbers."""
    fields = {"image[1]": DATA_URL, "prompt": "a hat", "image[0]": "https://a.b/c", "image[]": None}
    form = await read(*json(fields))

    assert form.fields == (("prompt", "a hat"),)
    assert [picture.url for picture in form.pictures] == ["https://a.b/c", ""]


async def test_json() -> None:
    """A JSON body gives the same as a form."""
    fields = {
        "prompt": "a hat",
        "images": [{"image_url": DATA_URL}],
        "mask": {"image_url": DATA_URL},
    }
    form = await read(*json(fields))

    assert form.fields == (("prompt", "a hat"),)
    assert form.pictures[0].content == PNG[:8]
    assert form.mask is not None


async def test_long_data_url() -> None:
    """A picture as text may be longer than other texts."""
    text = b"data:image/png;base64," + b"iVBO" * 2000

    form = await read(*multipart(part("image", text)), limits=limits_of(max_text_bytes=4096))

    assert len(form.pictures[0].content) == 6000


def test_repr_shows_no_prompt() -> None:
    """A form can be printed without its texts."""
    form = asyncio.run(read(*body_of(data={"prompt": "canary"}, files=FILES)))

    assert "canary" not in repr(form)


async def test_a_generation_as_a_form() -> None:
    """A form without pictures is all that a generation needs."""
    form = await read(*multipart(part("prompt", b"a hat")), most=0)

    assert form.fields == (("prompt", "a hat"),)
    assert form.pictures == ()
