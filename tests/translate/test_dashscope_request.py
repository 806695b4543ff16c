import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.edit import Picture
from gateway.domain.task import TaskStatus
from gateway.translate.dashscope_request import build_body, list_query
from gateway.translate.encodings import SLICE, base64_length, encode_base64

PNG = Picture(content=b"\x89PNG..", media_type="image/png")


def test_a_big_picture_is_never_held_twice() -> None:
    """Pieces stay at 256 KiB, however big the picture is."""
    big = Picture(content=bytes(3 * SLICE + 1), media_type="image/png")

    pieces = list(build_body([b"[", big, b"]"]).pieces())

    assert max(map(len, pieces)) == SLICE // 3 * 4 == 256 * 1024


@given(content=st.binary(max_size=64))
def test_length_is_known_before_encoding(content: bytes) -> None:
    """The encoded length follows from the length alone."""
    assert len(b"".join(encode_base64(content))) == base64_length(len(content))


def test_the_body_keeps_its_content_to_itself() -> None:
    """Neither prompt nor picture shows in the repr of a body."""
    body = build_body([b'["secret",', PNG, b"]"])

    assert "secret" not in repr(body)
    assert "PNG" not in repr(body)


@pytest.mark.parametrize(
    ("since", "until", "start", "end"),
    [
        pytest.param(0, 1, "19700101080000", "19700101080001", id="Beijing is 8 h ahead"),
        pytest.param(
            1758636850.8, 1758636923.2, "20250923221410", "20250923221524", id="widened, not cut"
        ),
    ],
)
def test_the_window_of_a_list(since: float, until: float, start: str, end: str) -> None:
    """Times go as Beijing's YYYYMMDDhhmmss, rounded outwards."""
    query = list_query(since, until, None, 2, 100)

    assert query == {"start_time": start, "end_time": end, "page_no": "2", "page_size": "100"}


def test_a_list_may_ask_for_one_status() -> None:
    """The status is sent in DashScope's word, and only if asked for."""
    assert list_query(0, 1, TaskStatus.PENDING, 1, 10)["status"] == "PENDING"
