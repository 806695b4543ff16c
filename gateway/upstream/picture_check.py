"""Is this a whole picture? Told by its first and last bytes, without decoding it."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG = b"\xff\xd8\xff"
# Bytes behind the end mark are odd but harmless: a paid picture is not lost for them.
_SLACK = 1024


def fault_of(content: bytes) -> str | None:
    """Return what is wrong with *content* as a PNG, JPEG or WEBP; ``None`` if nothing is."""
    if content.startswith(_PNG):
        return None if _PNG_END in content[-_SLACK:] else "a PNG without its end"
    if content.startswith(_JPEG):
        return None
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        size = int.from_bytes(content[4:8], "little") + 8
        return None if len(content) >= size else "a WEBP without its end"
    return "not a PNG, JPEG or WEBP"
