"""The header ``Range`` of a GET: which bytes are asked for (RFC 9110, section 14)."""

import re

from gateway.domain.errors import RangeNotSatisfiable

_ONE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII | re.IGNORECASE)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """
    Return the first byte and the one after the last; ``None`` means the whole.

    What is malformed, and several ranges at once, ask for the whole, as the RFC allows.

    Args:
        header: As it was sent; empty where there is none.
        size: Of the whole, in bytes.

    Raises:
        RangeNotSatisfiable: it begins behind the end.
    """
    match = _ONE.fullmatch(header.strip())
    if match is None or match[0].endswith("=-"):
        return None
    first, last = match[1], match[2]
    if not first:  # the last so many bytes
        if not int(last):
            raise RangeNotSatisfiable(size)
        return max(0, size - int(last)), size
    start = int(first)
    stop = min(size, int(last) + 1) if last else size
    if last and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable(size)
    return start, stop
