"""gateway.translate.charsets."""

import pytest

from gateway.domain.errors import InvalidRequest
from gateway.translate.charsets import ToUtf8, codec_of, decode_text

CJK = "背景换成雪山"


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        pytest.param("", "utf-8", CJK, id="none"),
        pytest.param("UTF-8", "utf-8-sig", CJK, id="with a mark"),
        pytest.param("gbk", "gbk", CJK, id="gbk"),
        pytest.param("GB2312", "gb18030", CJK + "镕€", id="gb2312 and what Windows means by it"),
        pytest.param("Big5", "big5", "背景", id="big5"),
        pytest.param('"shift_jis"', "cp932", "背景①～", id="shift_jis of Windows"),
        pytest.param("euc-kr", "cp949", "배경 뷁", id="euc-kr"),
        pytest.param("ISO-8859-1", "latin-1", "café", id="latin-1"),
        pytest.param("windows-1252", "cp1252", "€ café", id="windows-1252"),
        pytest.param("windows-1251", "cp1251", "фон", id="cyrillic"),
        pytest.param("us-ascii", "ascii", "cafe", id="ascii"),
        pytest.param("utf-16", "utf-16", CJK, id="utf-16 with a mark"),
        pytest.param("utf-16le", "utf-16le", CJK, id="utf-16le"),
        pytest.param("utf-16be", "utf-16be", CJK, id="utf-16be"),
    ],
)
def test_texts(charset: str, codec: str, text: str) -> None:
    """A text is read in the charset that it declares, without a byte order mark."""
    assert decode_text(text.encode(codec), charset, "prompt") == text


@pytest.mark.parametrize(
    ("content", "charset", "message"),
    [
        pytest.param(CJK.encode("gbk"), "", "is not valid UTF-8 .at its byte 0.", id="gbk"),
        pytest.param(b"caf\xe9", "", "declare its charset", id="latin-1"),
        pytest.param(b"caf\xe9", "us-ascii", "is not valid us-ascii", id="not ascii"),
        pytest.param(b"\xed\xa0\x80", "utf-8", "not valid", id="half a character"),
        pytest.param(b"\0\xd8", "utf-16le", "not valid", id="half a character in utf-16"),
        pytest.param(b"x", "rot13", "'rot13', which is not known", id="no charset"),
        pytest.param(b"x", "unicode_escape", "not known", id="a codec of Python's"),
        pytest.param(b"x", "../x", "not known", id="a path"),
    ],
)
def test_no_guesses(content: bytes, charset: str, message: str) -> None:
    """What is not valid in its charset is refused with what to do."""
    with pytest.raises(InvalidRequest, match=message) as refused:
        decode_text(content, charset, "prompt")

    assert refused.value.param == "prompt"


def test_every_label_has_a_codec() -> None:
    """Python has each codec of the table."""
    for label in ("utf-32", "iso-8859-16", "koi8-u", "macintosh", "ibm866", "hz-gb-2312", "cp950"):
        codec = codec_of(label)
        assert codec is not None
        assert "a".encode(codec)


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        pytest.param("", "utf-8", id="utf-8"),
        pytest.param("", "utf-8-sig", id="utf-8 with a mark"),
        pytest.param("", "utf-16", id="utf-16 by its mark"),
        pytest.param("", "utf-32", id="utf-32 by its mark"),
        pytest.param("", "utf-16le", id="utf-16le by its zeros"),
        pytest.param("", "utf-16be", id="utf-16be by its zeros"),
        pytest.param("gbk", "gbk", id="gbk"),
        pytest.param("utf-16", "utf-16le", id="utf-16 without a mark"),
        pytest.param("utf-32", "utf-32le", id="utf-32 without a mark"),
    ],
)
def test_pieces_become_utf_8(charset: str, codec: str, step: int) -> None:
    """Text in pieces becomes UTF-8, whatever it was and wherever it is cut."""
    text = '{"prompt": "' + CJK + '"}'
    raw, to_utf8 = text.encode(codec), ToUtf8(charset)

    results = [to_utf8.feed(raw[at : at + step]) for at in range(0, len(raw), step)]

    assert b"".join([*results, to_utf8.feed(b"", last=True)]).decode() == text


def test_pieces_that_are_cut_short() -> None:
    """Half a character at the end is told, and so is a charset that is none."""
    to_utf8 = ToUtf8("gbk")
    to_utf8.feed(b"abc\xb1")

    with pytest.raises(UnicodeDecodeError):
        to_utf8.feed(b"", last=True)
    with pytest.raises(UnicodeDecodeError):
        ToUtf8("utf-16").feed("猫".encode() * 9, last=True)
    with pytest.raises(LookupError):
        ToUtf8("rot13")
    assert ToUtf8("").feed(b"[]", last=True) == b"[]"
