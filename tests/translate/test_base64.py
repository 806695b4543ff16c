import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.translate.encodings import SLICE, Encoder, base64_length, encode_base64


@pytest.mark.parametrize(
    "length",
    [
        pytest.param(0, id="nothing"),
        pytest.param(SLICE - 1, id="one short"),
        pytest.param(SLICE, id="one slice"),
        pytest.param(SLICE + 1, id="one over"),
        pytest.param(3 * SLICE + 2, id="several"),
    ],
)
def test_slices_join_without_a_seam(length: int) -> None:
    """Bytes of any length come back one for one, in pieces of 256 KiB at most."""
    content = bytes(n % 251 for n in range(length))

    pieces = list(encode_base64(content))

    assert base64.b64decode(b"".join(pieces)) == content
    assert max(map(len, pieces), default=0) <= 256 * 1024
    assert sum(map(len, pieces)) == base64_length(length)


@given(chunks=st.lists(st.binary(max_size=20), max_size=20))
def test_chunks_join_without_a_seam(chunks: list[bytes]) -> None:
    """However the bytes are cut, the encoder's pieces are the base64 of the whole."""
    encoder = Encoder()

    body = b"".join([*map(encoder.feed, chunks), encoder.end()])

    assert body == base64.b64encode(b"".join(chunks))
    assert len(body) == base64_length(sum(map(len, chunks)))
