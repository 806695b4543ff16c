"""Is this a whole picture? Told by its first and last bytes, without decoding it."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"

HEAD_BYTES = 32
"""Enough to tell form and, of a PNG, size."""
# Bytes behind the end mark are odd but harmless: a paid picture is not lost for them.
TAIL_BYTES = 1024


def fault_of_head(head: bytes) -> str | None:
    """Return what is wrong with a picture that begins with *head*; ``None`` if nothing is yet."""
    webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    if head.startswith((_PNG, _JPEG)) or webp:
        return None
    return "not a PNG, JPEG or WEBP" if head else "empty"


def fault_of_end(head: bytes, tail: bytes, length: int) -> str | None:
    """Return what is wrong with a picture of *length* bytes that ends with *tail*."""
    if head.startswith(_PNG) and _PNG_END not in tail[-TAIL_BYTES:]:
        return "a PNG without its end"
    if head.startswith(_JPEG) and _JPEG_END not in tail[-TAIL_BYTES:]:
        return "a JPEG without its end"
    if head.startswith(b"RIFF") and length < int.from_bytes(head[4:8], "little") + 8:
        return "a WEBP without its end"
    return None
