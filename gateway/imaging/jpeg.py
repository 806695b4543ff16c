"""JPEG without decoding: its segments, and the file without those that no decoder needs."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from gateway.domain.errors import InvalidImage
from gateway.imaging.metadata import Metadata

_START_BYTES = 2
_END = 0xD9
_SCAN = 0xDA
_APP0 = 0xE0
_APP1 = 0xE1
_APP2 = 0xE2
_APP14 = 0xEE
_APP15 = 0xEF
_COMMENT = 0xFE
_BASELINE = (0xC0, 0xC1)
"""Frames that are not progressive; the byte after their size counts the colours."""
_EXIF = b"Exif\x00\x00"
_ICC = b"ICC_PROFILE\x00"

_MOST_SEGMENTS = 4096
"""An honest file has tens; one of millions of empty ones would only cost time."""
_MOST_SCANS = 100
"""Progressive encoders write about ten; each makes the decoder walk the whole picture."""

# In coded data FF is followed by 00 or a restart marker; a fill FF says nothing yet.
_AFTER_CODED = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_WINDOW = 1_048_576
"""Bytes searched at once: other threads of the interpreter wait for the end of a search."""


class _Segment(NamedTuple):
    marker: int
    start: int
    end: int


def metadata(content: bytes) -> Metadata:
    """
    Read the segments before, between and behind the scans.

    Raises:
        InvalidImage: there are absurdly many.
    """
    exif = b""
    head = _head(content)
    behind = list(_behind(content, _first_scan(head)))
    for segment in head:
        if not exif and segment.marker == _APP1 and content.startswith(_EXIF, segment.start + 4):
            exif = content[segment.start + 4 : segment.end]
    present = any(_is_private(content, part) for part in head) or any(map(_is_note, behind))
    return Metadata(exif, present, rest=len(content) - _end(content, behind))


def end(content: bytes) -> int:
    """
    Return where the picture's last byte stands, plus one.

    Raises:
        InvalidImage: there are absurdly many segments.
    """
    return _end(content, list(_behind(content, _first_scan(_head(content)))))


def strip_metadata(content: bytes) -> bytes:
    """
    Return the same picture without metadata; its coded data stays byte for byte.

    JFIF, ICC profile and Adobe's colour transform stay, since colours are wrong without
    them; after the first scan they are not read.
    """
    head = _head(content)
    coded = _first_scan(head)
    kept = [content[part.start : part.end] for part in head if not _is_private(content, part)]
    for note in filter(_is_note, _behind(content, coded)):
        kept.append(content[coded : note.start])
        coded = note.end
    return b"".join((content[:_START_BYTES], *kept, content[coded:]))


def has_profile(content: bytes) -> bool:
    """Return whether an ICC profile stands before the first scan."""
    return any(
        segment.marker == _APP2 and content.startswith(_ICC, segment.start + 4)
        for segment in _head(content)
    )


def is_single_pass(content: bytes) -> bool:
    """Return whether the first scan holds the whole picture, so that a decoder reads no other."""
    head = _head(content)
    scan = _first_scan(head)
    whole = [content[part.start + 9 : part.start + 10] for part in head if part.marker in _BASELINE]
    return len(whole) == 1 and whole[0] == content[scan + 4 : scan + 5]


def first_part(content: bytes, coded_bytes: int) -> bytes:
    """
    Return a JPEG of the first *coded_bytes* of a one-pass JPEG's only scan.

    Raises:
        InvalidImage: behind that scan stands no end of picture: it is cut short, or
            it contains something that is not coded data.
    """
    coded = _first_scan(_head(content))
    scan = coded + 2 + int.from_bytes(content[coded + 2 : coded + 4], "big")
    behind = list(_behind(content, scan))
    is_ended = [part.marker for part in behind if not _is_note(part)] == [_END]
    if not is_ended or any(here.end != there.start for here, there in pairwise(behind)):
        raise InvalidImage("it is damaged or cut short")
    return content[: min(scan + coded_bytes, behind[0].start)] + bytes((0xFF, _END))


def check_scans(content: bytes) -> None:
    """
    Refuse a file that keeps a decoder busy with scan after scan.

    Raises:
        InvalidImage: with the reason.
    """
    if not is_single_pass(content) and content.count(bytes((0xFF, _SCAN))) > _MOST_SCANS:
        raise InvalidImage(f"a JPEG may have at most {_MOST_SCANS} scans")


def _head(content: bytes) -> list[_Segment]:
    """Return what stands before the first scan; a broken head just ends early."""
    segments: list[_Segment] = []
    at = _START_BYTES
    while content[at : at + 1] == b"\xff" and at + 4 <= len(content):
        marker = content[at + 1]
        if marker in (_SCAN, _END):
            break
        # 0xFF: a fill byte, which stands alone.
        length = 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        segments.append(_Segment(marker, at, at + length))
        if len(segments) > _MOST_SEGMENTS:
            raise InvalidImage(f"a JPEG may have at most {_MOST_SEGMENTS} segments")
        at += length
    return segments


def _is_private(content: bytes, segment: _Segment) -> bool:
    if segment.marker == _APP2:
        return not content.startswith(_ICC, segment.start + 4)
    if segment.marker in (_APP0, _APP14):
        return False
    return _APP1 <= segment.marker <= _APP15 or segment.marker == _COMMENT


def _is_note(segment: _Segment) -> bool:
    """Return whether *segment*, which stands behind the first scan, says nothing to a decoder."""
    return _APP0 <= segment.marker <= _APP15 or segment.marker == _COMMENT


def _first_scan(head: list[_Segment]) -> int:
    return head[-1].end if head else _START_BYTES


def _behind(content: bytes, at: int) -> Iterator[_Segment]:
    """Yield what stands from *at* on, in coded data or in front of it, up to the end mark."""
    for _ in range(_MOST_SEGMENTS):
        start = _after_coded(content, at)
        if start is None:
            return
        marker = content[start + 1]
        at = start + 2
        if marker != _END:
            at += int.from_bytes(content[at : at + 2], "big")
        yield _Segment(marker, start, at)
        if marker == _END:
            return
    raise InvalidImage(f"a JPEG may have at most {_MOST_SEGMENTS} segments")


def _end(content: bytes, behind: list[_Segment]) -> int:
    """Return where the picture ends that has *behind* in and behind its scans."""
    return behind[-1].end if behind and behind[-1].marker == _END else len(content)


def _after_coded(content: bytes, at: int) -> int | None:
    """Return the first place from *at* on where a marker stands that ends coded data."""
    for start in range(at, len(content), _WINDOW):
        if found := _AFTER_CODED.search(content, start, start + _WINDOW + 1):
            return found.start()
    return None
