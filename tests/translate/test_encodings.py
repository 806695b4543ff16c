"""gateway.translate.encodings."""

import base64
import quopri
from collections.abc import Callable

import pytest

from gateway.translate.encodings import Base64, Decoder, JsonEscapes, Percents, QuotedPrintable

RAW = bytes(range(256)) * 3
MIME = base64.encodebytes(RAW).replace(b"\n", b"\r\n")
PLAIN = base64.b64encode(RAW)


def read(decoder: Decoder, text: bytes, step: int) -> bytes:
    pieces = [decoder.feed(text[at : at + step]) for at in range(0, len(text), step)]
    return b"".join(pieces) + decoder.end()


@pytest.mark.parametrize("step", [1, 2, 3, 5, 64, 10_000])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(Base64, PLAIN, id="base64"),
        pytest.param(Base64, PLAIN.rstrip(b"="), id="without padding"),
        pytest.param(Base64, base64.urlsafe_b64encode(RAW), id="base64url"),
        pytest.param(Base64, MIME, id="as MIME wraps it"),
        pytest.param(QuotedPrintable, quopri.encodestring(RAW, quotetabs=True), id="quoted"),
        pytest.param(Percents, b"".join(b"%%%02x" % byte for byte in RAW), id="percents"),
    ],
)
def test_cut_anywhere(make: Callable[[], Decoder], text: bytes, step: int) -> None:
    """What was encoded comes back byte for byte, wherever its text is cut."""
    decoder = make()

    assert read(decoder, text, step) == RAW
    assert decoder.fault == ""


@pytest.mark.parametrize("step", [1, 4, 100])
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(b"iVBO*w0K", "has not, '*'", id="a star"),
        pytest.param("iVBO猫".encode(), "has not, 0xe7", id="beyond ASCII"),
        pytest.param(b"iVBOR", "cut short", id="cut short"),
        pytest.param(b"iVBORw0K=", "padding is wrong", id="padding too many"),
        pytest.param(b"iVB=iVBO", "more behind its padding", id="padding in the middle"),
        pytest.param(b"iVB==A=", "more behind its padding", id="padding in two"),
        pytest.param(b"iV*O" * 50, "has not, '*'", id="the first fault is told"),
    ],
)
def test_faults(text: bytes, fault: str, step: int) -> None:
    """A text that is no base64 has one fault that says why."""
    decoder = Base64()
    read(decoder, text, step)

    assert fault in decoder.fault


@pytest.mark.parametrize("step", [1, 2, 3, 7, 5000])
def test_lines_of_quoted_printable(step: int) -> None:
    """Soft line ends go, and all else stays."""
    text = b"a=\r\nb\r\nc =3D=\nd" + b" " * 2000 + b"e"

    assert read(QuotedPrintable(), text, step).replace(b"\r", b"") == (
        b"ab\nc =d" + b" " * 2000 + b"e"
    )


@pytest.mark.parametrize("step", [1, 3, 100])
def test_percents_that_are_none(step: int) -> None:
    """A percent sign without two digits stands for itself."""
    assert read(Percents(), b"100% of%zz%4", step) == b"100% of%zz%4"


def test_escapes_of_json() -> None:
    """Escapes become what they stand for; what is no escape is no text of a picture."""
    escapes = JsonEscapes()

    assert escapes.feed(b"plain") == b"plain"
    assert escapes.feed(rb"a\/b\u002B\n") == b"a/b+\n"
    assert escapes.feed(b"a\\/\r\nb") == b"a/b"
    assert escapes.feed(rb"\x") == b"\\"
    assert escapes.end() == b""
