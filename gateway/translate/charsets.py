"""Text decoded in the charset that its sender declared; never guessed."""

import codecs
from collections.abc import Iterator

from gateway.domain.errors import InvalidRequest

_BOM = "\ufeff"
_START_BYTES = 4
_DETECTED_BY_START = {"utf-8": "utf-8", "utf-16": "utf-16le", "utf-32": "utf-32le"}
"""Encodings that a text's first bytes may specify, and what each means otherwise."""


def _table() -> Iterator[tuple[str, str]]:
    """Yield labels as the WHATWG's Encoding standard reads them, and the codec of each."""
    plain = "utf-16 utf-16le utf-16be utf-32 utf-32le utf-32be koi8-r koi8-u euc-jp iso-2022-jp"
    plain += " hz-gb-2312 tis-620 cp437 cp850 cp852 cp866 mac-roman"
    numbered = (f"{family}{n}" for family in ("iso-8859-", "iso8859-") for n in range(1, 17))
    windows = (f"windows-{n}" for n in range(1250, 1259))
    same = {
        "utf-8": "utf-8 utf8 unicode-1-1-utf-8 utf-8-sig",
        "ascii": "ascii us-ascii iso-ir-6 ansi-x3.4-1968",
        "iso-8859-1": "latin1 latin-1 l1",
        "gb18030": "gb18030 gbk gb2312 gb-2312-80 cp936 x-gbk windows-936 936 ms936 euc-cn",
        "big5hkscs": "big5 big5-hkscs big5hkscs",
        "cp950": "cp950 windows-950 950 ms950",
        "cp932": "shift-jis shiftjis sjis x-sjis ms-kanji windows-31j windows-932 cp932 932 ms932",
        "cp949": "euc-kr ks-c-5601-1987 ksc5601 windows-949 cp949 949 uhc",
        "cp874": "windows-874",
        "mac-roman": "macintosh",
        "cp866": "ibm866",
    }
    for label in (*plain.split(), *numbered, *windows):
        yield label, label
    for codec, labels in same.items():
        yield from ((label, codec) for label in labels.split())


# Labels are looked up here, not in Python's registry: that has codecs which are not charsets,
# and caches each name that it is asked for.
_CODECS = {label: codec for label, codec in _table() if label not in ("iso-8859-12", "iso8859-12")}


def codec_of(charset: str) -> str | None:
    """Return Python's codec for the label *charset*; None: it is not known here."""
    return _CODECS.get(charset.strip().strip("\"'").lower().replace("_", "-"))


def decode_text(content: bytes, charset: str, name: str) -> str:
    """
    Return the text of a field, without a byte order mark.

    Args:
        content: As it was sent.
        charset: As it was declared; empty: UTF-8.
        name: Of the field, for the refusal.

    Raises:
        InvalidRequest: it is not valid in that charset, or the charset is not known.
    """
    label = charset or "UTF-8"
    codec = codec_of(label)
    shown = name[:64]
    if codec is None:
        raise InvalidRequest(
            f"The field '{shown}' says that its charset is '{label[:40]}', which is not known here."
            " Send it in UTF-8.",
            param=shown,
        )
    try:
        return content.decode(codec).removeprefix(_BOM)
    except UnicodeDecodeError as exc:
        raise InvalidRequest(
            f"The field '{shown}' is not valid {label[:40]} (at its byte {exc.start}). Send it in"
            " UTF-8, or declare its charset in the part's Content-Type, such as"
            " 'text/plain; charset=gbk'.",
            param=shown,
        ) from None


class ToUtf8:
    """
    Turns text that arrives in pieces into UTF-8, without a byte order mark.

    Args:
        charset: As it was declared; empty: by its first bytes, else UTF-8.

    Raises:
        LookupError: the charset is not known.
    """

    def __init__(self, charset: str) -> None:
        codec = codec_of(charset) if charset else "utf-8"
        if codec is None:
            raise LookupError(charset)
        self._codec = codec
        self._start = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False

    def feed(self, piece: bytes, *, last: bool = False) -> bytes:
        """
        Return the next bytes in UTF-8; they may be invalid where they came as UTF-8.

        Raises:
            UnicodeDecodeError: they are not valid in their charset.
        """
        if self._begun:
            return self._converted(piece, last=last)
        self._start += piece
        if len(self._start) < _START_BYTES and not last:
            return b""
        self._begun = True
        codec = self._codec
        if codec in _DETECTED_BY_START:
            codec = _by_bom(self._start) or _DETECTED_BY_START[codec]
        if codec == "utf-8":
            codec = _by_zeros(self._start)
        if codec != "utf-8":
            self._decoder = codecs.getincrementaldecoder(codec)()
        return self._converted(self._start, last=last).removeprefix(codecs.BOM_UTF8)

    def _converted(self, piece: bytes, *, last: bool) -> bytes:
        if self._decoder is None:
            return piece
        return self._decoder.decode(piece, last).encode()


def _by_bom(start: bytes) -> str | None:
    """Return the Unicode encoding of a byte order mark; ``None`` without one."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return None


def _by_zeros(start: bytes) -> str:
    """Return the Unicode encoding by the zeros in JSON's first characters (RFC 4627, 3)."""
    zeros = [not byte for byte in start[:2]]
    if zeros == [True, False]:
        return "utf-16be"
    return "utf-16le" if zeros == [False, True] else "utf-8"
