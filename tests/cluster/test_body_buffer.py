import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from gateway.cluster.body_buffer import BodyBuffer, BodyBuffers
from gateway.domain.errors import Overloaded

LIMIT = 100


def test_small_bodies_stay_in_memory() -> None:
    """They are read as often as needed, and their memory is free again afterwards."""
    buffers = BodyBuffers(None, LIMIT)
    with BodyBuffer(buffers) as body:
        body.write(b"one ")
        body.write(b"two")

        assert [b"".join(body.pieces()) for _ in "12"] == [b"one two"] * 2
        assert (body.length, body.in_memory, buffers.free) == (7, 7, LIMIT - 7)
    assert buffers.free == LIMIT


def test_large_bodies_lie_in_a_file(tmp_path: Path) -> None:
    """What does not fit goes to a file with all that came before; memory is for the others."""
    buffers = BodyBuffers(tmp_path, LIMIT)
    with BodyBuffer(buffers) as body, BodyBuffer(buffers) as other:
        other.write(b"y" * 40)
        for _ in range(4):
            body.write(b"x" * 50)

        assert b"".join(body.pieces()) == b"x" * 200
        assert (body.length, body.in_memory, buffers.free) == (200, 0, 60)
        body.write(b"z" * 300_000)
        assert b"".join(body.pieces()) == b"x" * 200 + b"z" * 300_000
    assert buffers.free == LIMIT


def test_the_file_is_nobody_elses(tmp_path: Path) -> None:
    """It has no name by which another could open it, and goes with the process."""
    buffers = BodyBuffers(tmp_path, 0)
    with BodyBuffer(buffers) as body:
        body.write(b"x")

        assert list(tmp_path.iterdir()) == []
        assert body._file is not None
        assert stat.S_IMODE(os.fstat(body._file.fileno()).st_mode) == 0o600


def test_a_full_disk(tmp_path: Path) -> None:
    """The request is refused before anything was submitted: its client comes again."""
    buffers = BodyBuffers(tmp_path / "gone", 0)
    with BodyBuffer(buffers) as body, pytest.raises(Overloaded) as refused:
        body.write(b"x")

    assert (refused.value.retry, refused.value.retry_after) == (True, 1.0)


class SlowFile:
    """A file that takes a few bytes at a time, as one on a full disk may."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.fileno: Callable[[], int] = file.fileno
        self.close = file.close

    def write(self, data: Any) -> int:
        return self._file.write(data[:3])


def test_a_file_that_takes_a_part(tmp_path: Path) -> None:
    """The rest is written until it is there."""
    buffers = BodyBuffers(tmp_path, 0)
    with BodyBuffer(buffers) as body:
        body.write(b"x")
        file: Any = body._file
        body._file = SlowFile(file)  # type: ignore[assignment]  # as much of a file as is needed
        body.write(b"0123456789")

        assert b"".join(body.pieces()) == b"x0123456789"
