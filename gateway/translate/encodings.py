"""Bytes that travel as text, piece by piece: base64, quoted-printable, percents, JSON escapes."""

import binascii
import re
from collections.abc import Iterator
from typing import Protocol

import orjson
import pybase64

SLICE = 192 * 1024  # a multiple of 3: each slice encodes without padding, to 256 KiB


def base64_length(length: int) -> int:
    """Return how many characters *length* bytes become."""
    return (length + 2) // 3 * 4


class Encoder:
    """Base64 of bytes that come in pieces of any length."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what *chunk* adds; up to two of its bytes wait for the next."""
        if self._rest:
            chunk = self._rest + chunk
        whole = len(chunk) - len(chunk) % 3
        self._rest = chunk[whole:]
        return pybase64.b64encode(memoryview(chunk)[:whole])

    def end(self) -> bytes:
        """Return the end, with its padding."""
        return pybase64.b64encode(self._rest)


def encode_base64(content: bytes | memoryview) -> Iterator[bytes]:
    """Yield *content* in base64, at most 256 KiB at a time; joined they are the whole."""
    view = memoryview(content)
    for start in range(0, len(view), SLICE):
        yield pybase64.b64encode(view[start : start + SLICE])


_SPACE = b" \t\r\n\f\v"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_ESCAPE = re.compile(rb"%[0-9a-fA-F]{2}")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class Decoder(Protocol):
    """Decodes a text that arrives in pieces."""

    fault: str
    """What is wrong with the text; empty while nothing is."""

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes that *piece* completes."""
        ...

    def end(self) -> bytes:
        """Return the rest; sets *fault* if something is missing."""
        ...


class Identity:
    """The text is the bytes."""

    fault = ""

    def feed(self, piece: bytes) -> bytes:
        return piece

    def end(self) -> bytes:
        return b""


class Base64:
    """
    Base64 in either alphabet, wrapped or not, padded or not.

    Characters outside the alphabet, padding in the middle and a single last character are
    faults: a damaged picture must not be sent on.
    """

    def __init__(self) -> None:
        self.fault = ""
        self._rest = b""
        self._padding = 0

    def feed(self, piece: bytes) -> bytes:
        data, padding, after = piece.translate(_TO_STANDARD, _SPACE).partition(b"=")
        if (data and self._padding) or after.strip(b"="):
            self.fault = self.fault or "there is more behind its padding"
        self._padding += len(padding) + len(after)
        data = self._rest + data
        whole = len(data) - len(data) % 4
        self._rest = data[whole:]
        return self._decoded(data[:whole])

    def end(self) -> bytes:
        rest = self._rest
        missing = -len(rest) % 4
        self._rest = b""
        if rest.translate(None, _ALPHABET):
            return self._decoded(rest)
        if missing == 3:
            self.fault = self.fault or "it is cut short"
        elif self._padding > missing:
            self.fault = self.fault or "its padding is wrong"
        return b"" if self.fault else self._decoded(rest + b"=" * missing)

    def _decoded(self, text: bytes) -> bytes:
        if self.fault:
            return b""
        try:
            return pybase64.b64decode(text, validate=True)
        except binascii.Error:
            wrong = chr(text.translate(None, _ALPHABET + b"=")[0])
            shown = f"'{wrong}'" if wrong.isprintable() and wrong.isascii() else hex(ord(wrong))
            self.fault = f"it has a character that base64 has not, {shown}"
            return b""


class QuotedPrintable:
    """RFC 2045, 6.7. It has no faults: what is not an escape is taken literally."""

    fault = ""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        text = self._rest + piece
        last = text[-2:]  # an escape that is cut waits
        whole = len(text) - len(last) + len(last.partition(b"=")[0])
        self._rest = text[whole:]
        return binascii.a2b_qp(text[:whole])

    def end(self) -> bytes:
        return binascii.a2b_qp(self._rest)


class Percents:
    """Percent-encoding, of a URL or a form; what is not an escape is taken literally."""

    fault = ""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        if not self._rest and b"%" not in piece:
            return piece
        text = self._rest + piece
        last = text[-2:]
        whole = len(text) - len(last) + len(last.partition(b"%")[0])
        self._rest = text[whole:]
        return _without_percents(text[:whole])

    def end(self) -> bytes:
        return _without_percents(self._rest)


_HEX = "0123456789abcdefABCDEF"
_BYTE_OF = {f"%{a}{b}".encode(): bytes.fromhex(a + b) for a in _HEX for b in _HEX}


def _without_percents(text: bytes) -> bytes:
    # urllib's function takes 30 times as long for percent signs that are not escapes.
    return _ESCAPE.sub(lambda match: _BYTE_OF[match[0]], text)


class JsonEscapes:
    """The escapes inside a JSON string that is cut between them; for text that is ASCII."""

    fault = ""

    def feed(self, piece: bytes) -> bytes:
        if b"\\" not in piece:
            return piece
        try:
            return str(orjson.loads(b'"%b"' % piece.translate(None, b"\r\n\t"))).encode()
        except orjson.JSONDecodeError:
            return b"\\"  # which no text of a picture has

    def end(self) -> bytes:
        return b""
