"""What is wrong in a body: its status, its code and its field, and no prompt."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError, InvalidRequest
from tests.downstream.bodies import IMAGE, body_of, captured, json, multipart, part, read
from tests.downstream.harness import FILES, FORM, PNG, limits_of

pytestmark = pytest.mark.anyio


@settings(max_examples=100, deadline=None)
@given(junk=st.binary(max_size=200), at=st.integers(0, 500))
async def test_garbage_is_refused_or_read(junk: bytes, at: int) -> None:
    """Whatever is written into a body, it is read or refused as the client's fault."""
    headers, body = captured("openai-node-4")

    try:
        form = await read(headers, body[:at] + junk + body[at + len(junk) :])
    except GatewayError as refusal:
        assert refusal.status in (400, 413)  # noqa: PT017 - both outcomes are right
    else:
        assert form.pictures


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
    limits = limits_of(max_body_bytes=30_000, max_text_bytes=4096)

    with pytest.raises(GatewayError) as caught:
        await read(headers, body, limits=limits)

    assert (caught.value.status, caught.value.code, caught.value.param) == (status, code, param)


async def test_over_the_budget() -> None:
    """A body for which there is no memory is refused while it arrives, and may come again."""
    with pytest.raises(GatewayError) as caught:
        await read(*body_of(data=FORM, files=FILES), budget=100)

    assert (caught.value.status, caught.value.code, caught.value.retry) == (
        503,
        "server_is_overloaded",
        True,
    )


@pytest.mark.parametrize("field", ["mask", "markup"])
async def test_a_mask_without_its_picture(field: str) -> None:
    """A mask of a picture that was not sent is refused by its name, not dropped."""
    with pytest.raises(InvalidRequest, match="send that as 'image'") as refused:
        await read(*multipart(part(field, PNG, '; filename="a.png"')), most=0)

    assert refused.value.param == field


@pytest.mark.parametrize(
    "unknown",
    [
        pytest.param(part("mask_image", PNG, '; filename="m.png"'), id="a-file"),
        pytest.param(part("mask_image", PNG, "\r\nContent-Type: image/png"), id="by-its-type"),
        pytest.param(
            part("mask_image", PNG, "\r\nContent-Type: application/octet-stream"), id="any-bytes"
        ),
        pytest.param(
            part("mask_image", b"--C\r\n", "\r\nContent-Type: multipart/mixed; boundary=C"),
            id="several-files",
        ),
        pytest.param(part("mask_image", b"", '; filename="m.png"'), id="an-empty-file"),
        pytest.param(part("mask_image", PNG, "; filename*=utf-8''m.png"), id="a-named-file"),
        pytest.param(part("mask_image", b"x", '; filename=""'), id="a-file-without-name"),
    ],
)
@pytest.mark.parametrize("most", [3, 0], ids=["edits", "generations"])
async def test_a_file_under_another_name(unknown: bytes, most: int) -> None:
    """A file in a field that takes none is refused by the field's name, and never ignored."""
    with pytest.raises(InvalidRequest, match="'mask_image'") as refused:
        await read(*multipart(part("prompt", b"a hat"), unknown), most=most)

    assert (refused.value.param, refused.value.code) == ("mask_image", "unknown_parameter")


async def test_no_file_chosen() -> None:
    """A browser's file field in which nothing was chosen is as if it were not there."""
    form = await read(*multipart(IMAGE, part("mask_image", b"", '; filename=""')))

    assert form.fields == ()


async def test_two_masks_in_json() -> None:
    """Two masks are one too many, whatever their names."""
    with pytest.raises(InvalidRequest, match="Duplicate parameter: 'mask'"):
        await read(*json({"image": "https://a.b", "mask": "https://a.b", "mask[]": "https://a.b"}))


@pytest.mark.parametrize(
    ("headers", "body", "message", "param"),
    [
        pytest.param(
            *multipart(part("prompt", b"caf\xe9")), "declare its charset", "prompt", id="no-utf-8"
        ),
        pytest.param(
            *multipart(part("prompt", b"x", "\r\nContent-Type: text/plain; charset=x-mine")),
            "'x-mine', which is not known", "prompt", id="unknown-charset",
        ),
        pytest.param(
            *multipart(part("prompt", b"x", "\r\nContent-Transfer-Encoding: x-uuencode")),
            "'x-uuencode', which", "prompt", id="unknown-transfer-encoding",
        ),
        pytest.param(
            *multipart(part("image", b"*", "\r\nContent-Transfer-Encoding: base64")),
            "says that it is base64, and it is not", "image", id="no-base64",
        ),
        pytest.param(
            *multipart(b'Content-Disposition: form-data; name="caf\xe9"\r\n\r\nx'),
            "field's name is not valid UTF-8", None, id="name-of-a-field",
        ),
        pytest.param(
            *multipart(part("_charset_", b"caf\xe9")), "not valid ascii", "_charset_", id="charset"
        ),
        pytest.param(URLENCODED, b"prompt=%ff", "not valid UTF-8", "prompt", id="urlencoded"),
        pytest.param(URLENCODED, b"%ff=1", "not valid UTF-8", "name of a field", id="its-names"),
        pytest.param(
            URLENCODED, b"a" * 9000, "name is too long", None, id="a-long-name"
        ),
        pytest.param(
            {"content-type": "application/json; charset=x-mine"}, b"{}",
            "'x-mine', which is not known", None, id="json-in-an-unknown-charset",
        ),
        pytest.param(
            {"content-type": "application/json; charset=gbk"}, b'{"a": "\xff\xff"}',
            "'gbk', and is not valid in it", None, id="json-not-in-its-charset",
        ),
        pytest.param(
            *json({})[:1], b'{"prompt": "\\ud800"}', "surrogate", None, id="half-a-character"
        ),
        pytest.param(
            *multipart(part("image", b"data:image/png,abc")), "its data is not base64", "image",
            id="no-base64-url",
        ),
        pytest.param(
            *json({"prompt": "data:image/png;base64," + "A" * 400, "image": "https://a.b"}),
            "'prompt' has no meaning here", "prompt", id="a-picture-as-prompt",
        ),
        pytest.param(
            *json({"n" * 501: 1, "image": "https://a.b"}), "a name of over 500", None, id="name",
        ),
        pytest.param(
            {"content-type": "multipart/form-data; boundary=" + "B" * 251}, b"", "over 250",
            None, id="boundary",
        ),
    ],
)  # fmt: skip
async def test_refusals_that_name_their_cause(
    headers: dict[str, str], body: bytes, message: str, param: str | None
) -> None:
    """What cannot be read is refused with its cause, and never guessed at."""
    with pytest.raises(GatewayError, match=message) as caught:
        await read(headers, body)

    assert caught.value.status in (400, 413)
    assert caught.value.param == param


async def test_texts_together() -> None:
    """All texts of a form together have the limit of one, so that many are no way around it."""
    limits = limits_of(max_text_bytes=1000)

    with pytest.raises(GatewayError, match="over 1000 bytes at 'b'") as caught:
        await read(*multipart(part("a", b"x" * 600), part("b", b"x" * 600)), limits=limits)

    assert caught.value.status == 413
