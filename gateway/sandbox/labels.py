"""What a result says about itself: text chunks of a PNG that tell a test whose picture it is."""

import struct
from collections.abc import Mapping
from zlib import crc32

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Signature and IHDR: what every PNG begins with, and behind which text may stand.
HEAD_BYTES = 33


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))


def label(png: bytes, labels: Mapping[str, str]) -> bytes:
    """Put *labels* (Latin-1) into *png* as text chunks, right behind its header."""
    texts = (chunk(b"tEXt", f"{name}\0{value}".encode("latin-1")) for name, value in labels.items())
    return b"".join((png[:HEAD_BYTES], *texts, png[HEAD_BYTES:]))


def read_labels(png: bytes) -> dict[str, str]:
    """
    Read the sandbox's labels out of one of its results.

    Returns:
        ``sandbox-task``, ``sandbox-index``, ``sandbox-prompt-sha256``, ``sandbox-input-sha256``
        (of the last input picture) and ``sandbox-inputs-sha256`` (of all, comma between); empty
        for a PNG of another origin.
    """
    labels = {}
    at = HEAD_BYTES
    while png[at + 4 : at + 8] == b"tEXt":
        size = struct.unpack_from(">I", png, at)[0]
        name, _, value = png[at + 8 : at + 8 + size].partition(b"\0")
        labels[name.decode("latin-1")] = value.decode("latin-1")
        at += 12 + size
    return labels
