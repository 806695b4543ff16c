"""HEIC and AVIF seen from outside: what their colours are where no ICC profile says it."""

from gateway.imaging import icc

_CODES = b"colrnclx"
_META_BYTES = 262_144
"""The boxes that describe pictures stand in front of them."""


def profile(content: bytes) -> bytes | None:
    """
    Return the profile of the first picture's code points; ``None`` where they say nothing.

    A file that has an ICC profile, too, means that one (ISO 23000-22, 7.3.6.4).
    """
    at = content.find(_CODES, 0, _META_BYTES)
    if at < 0 or b"colrprof" in content[:_META_BYTES] or b"colrrICC" in content[:_META_BYTES]:
        return None
    primaries = content[at + 8 : at + 10]
    transfer = content[at + 10 : at + 12]
    return icc.profile_of_codes(int.from_bytes(primaries, "big"), int.from_bytes(transfer, "big"))
