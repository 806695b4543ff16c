"""gateway.translate.openai_json."""

import base64
import json
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError, InvalidRequest, RequestTooLarge
from gateway.translate.openai_json import JsonScan, parse_json

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
MIB = 2**20


def scanned(raw: bytes, *cuts: int, most: int = MIB) -> JsonScan:
    scan, at = JsonScan(most), 0
    for cut in (*sorted(cut for cut in cuts if cut < len(raw)), len(raw)):
        scan.feed(raw[at:cut])
        at = cut
    scan.end()
    return scan


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text() | st.just('\\"\\\\u00"'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=VALUES, cuts=st.lists(st.integers(0, 300), max_size=9), ascii_=st.booleans())
def test_what_is_no_picture_stays(value: object, cuts: list[int], ascii_: bool) -> None:
    """JSON without pictures comes through byte for byte, cut anywhere."""
    raw = json.dumps(value, ensure_ascii=ascii_).encode()
    scan = scanned(raw, *cuts)

    assert scan.text == raw
    assert parse_json(scan) == value


@pytest.mark.parametrize("step", [1, 2, 5, 300, 10**6])
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(URL, id="plain"),
        pytest.param(URL.replace("/", "\\/"), id="as PHP writes it"),
        pytest.param(URL.replace("+", "\\u002B"), id="as .NET writes it"),
        pytest.param("\\n".join(URL[at : at + 76] for at in range(0, len(URL), 76)), id="wrapped"),
    ],
)
def test_pictures_are_taken_out(message: str, step: int) -> None:
    """A picture's string is decoded on the way, and a mark stands for it."""
    raw = f'{{"a": "{message}", "b": ["x\\"y", "{message}"]}}'.encode()
    scan = scanned(raw, *range(step, len(raw), step))
    value = parse_json(scan)

    assert isinstance(value, dict)
    assert len(scan.text) < 100
    first, second = scan.picture(value["a"]), scan.picture(value["b"][1])
    assert first is not None
    assert second is not None
    assert first is not second
    assert first.content("image 1", "a") == second.content("image 2", "b") == (PNG, "")
    assert value["b"][0] == 'x"y'
    assert scan.picture(value["b"]) is None


def test_a_broken_picture() -> None:
    """What is wrong in a picture is told by it, and the rest of it is passed over."""
    raw = b'{"a": "data:image/png;base64,' + rb"\"*\\" * 50_000 + b'"}'
    scan = scanned(raw, *range(1000, len(raw), 1000))
    value = parse_json(scan)

    assert isinstance(value, dict)
    picture = scan.picture(value["a"])
    assert picture is not None
    assert picture.has_fault


def endless(scan: JsonScan, piece: bytes) -> None:
    for _ in range(1000):
        scan.feed(piece)


@pytest.mark.parametrize(
    ("start", "filler", "kind"),
    [
        pytest.param(b"", b"[", InvalidRequest, id="deep lists"),
        pytest.param(b"", b'{"a":', InvalidRequest, id="deep objects"),
        pytest.param(b'{"x":[', b"0,", InvalidRequest, id="zeros"),
        pytest.param(b'{"x":[', b"{},", InvalidRequest, id="empty objects"),
        pytest.param(b'{"x":[', b'"",', InvalidRequest, id="empty strings"),
        pytest.param(b"", b'"', InvalidRequest, id="quotes alone"),
        pytest.param(b'{"n":', b"1", RequestTooLarge, id="a long number"),
        pytest.param(b"{", b" ", RequestTooLarge, id="spaces"),
        pytest.param(b"", b"\\", RequestTooLarge, id="backslashes"),
        pytest.param(b'{"prompt":"', b"a", RequestTooLarge, id="a long text"),
        pytest.param(b'{"prompt":"', rb"\"", RequestTooLarge, id="escaped quotes"),
        pytest.param(b'{"prompt":"', rb"\\", RequestTooLarge, id="escaped backslashes"),
        pytest.param(b'{"prompt":"', rb"\u0041", RequestTooLarge, id="long escapes"),
        pytest.param(b'{"prompt":"', "猫".encode(), RequestTooLarge, id="beyond ASCII"),
    ],
)
def test_no_end_in_sight(start: bytes, filler: bytes, kind: type[GatewayError]) -> None:
    """What would take memory and time without end is refused before it is parsed."""
    scan = JsonScan(MIB)
    piece = filler * (65_536 // len(filler))
    tracemalloc.start()
    try:
        scan.feed(start)
        with pytest.raises(kind):
            endless(scan, piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 8 * MIB


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        pytest.param(b'{"x": {"n": 1}, "prompt": "a", "prompt": "b"}', "prompt", id="in the body"),
        pytest.param(b'{"a": [{"b": 1, "b": 1}]}', "b", id="further in"),
    ],
)
def test_a_name_twice(raw: bytes, name: str) -> None:
    """Of two members of one name, none is dropped in silence."""
    with pytest.raises(InvalidRequest, match=f"Duplicate parameter: '{name}'") as refused:
        parse_json(scanned(raw))

    assert refused.value.param == name


def test_cut_short() -> None:
    """JSON that ends in the middle of a string is no JSON."""
    for raw in (orjson.dumps({"a": URL})[:-100], b'{"a": "\\'):
        with pytest.raises(InvalidRequest, match="not valid JSON: unexpected end of data"):
            parse_json(scanned(raw))
