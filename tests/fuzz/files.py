"""Pictures: the files of tests/data/pictures with bytes changed, lost and doubled."""

from functools import cache

from hypothesis import strategies as st

from tests.fuzz.wire import Shot
from tests.harness import photo
from tests.imaging.pictures import NAMES, read

_LARGEST = 100_000
"""Bytes: mutations of larger files say no more."""
_BOUNDARY = b"wan-gateway-fuzz"


@cache
def _seeds() -> tuple[bytes, ...]:
    kinds = (photo(), photo(1, "JPEG"), photo(2, "WEBP"), photo(3, "BMP")[:_LARGEST])
    return (*kinds, *(file for name in NAMES if len(file := read(name)) <= _LARGEST))


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(_seeds())))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 4, 8]))):
        # Half of the changes hit the first bytes, where lengths and kinds are told.
        most = draw(st.sampled_from([60, max(60, len(content))]))
        at = draw(st.integers(0, most))
        match draw(st.sampled_from(["change", "cut", "double", "end", "zero", "other"])):
            case "change":
                content[at : at + 1] = bytes((draw(st.integers(0, 255)),))
            case "cut":
                del content[at : at + draw(st.integers(1, 200))]
            case "double":
                content[at:at] = content[at : at + draw(st.integers(1, 500))]
            case "zero":
                content[at : at + 4] = draw(st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f" * 4]))
            case "other":
                content[at:] = draw(st.sampled_from(_seeds()))[at:]
            case _:
                del content[-draw(st.integers(1, 400)) :]
    return bytes(content)


def _part(name: bytes, content: bytes, kind: bytes) -> bytes:
    return (
        b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\nContent-Type: %s'
        b"\r\n\r\n%s\r\n" % (_BOUNDARY, name, kind, content)
    )


def _field(name: bytes, text: bytes) -> bytes:
    return b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
        *(_BOUNDARY, name, text),
    )


@st.composite
def pictures(draw: st.DrawFn) -> Shot:
    """An edit of mutated files, with or without a mask, in every form of answer."""
    kinds = st.sampled_from([b"image/png", b"image/jpeg", b"application/octet-stream"])
    parts = [
        _part(b"image[]", draw(_mutated()), draw(kinds))
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3])))
    ]
    if draw(st.integers(0, 3)) == 0:
        parts.append(_part(b"mask", draw(_mutated()), draw(kinds)))
    sizes = [b"", b"768x768", b"300x200", b"1000x700", b"auto"]
    parts += [
        _field(b"prompt", b"a hat"),
        _field(b"size", draw(st.sampled_from(sizes))),
        _field(b"output_format", draw(st.sampled_from([b"", b"png", b"jpeg", b"webp"]))),
    ]
    return Shot(
        b"".join(parts) + b"--%s--\r\n" % _BOUNDARY,
        b"multipart/form-data; boundary=" + _BOUNDARY,
        leaves=draw(st.integers(0, 19)) == 0,
    )
