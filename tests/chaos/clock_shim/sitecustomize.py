"""
Moves a program's calendar clock without a line of test code in it.

Python imports this before the program, when its directory is on PYTHONPATH. The file named by
CHAOS_CLOCK holds one double: seconds by which ``time.time()`` is off. It is mapped, so that a
jump takes effect at once in a process that runs.
"""

import mmap
import os
import struct
import time
from pathlib import Path

_DOUBLE = struct.Struct("d")


def _move_clock(file: Path) -> None:
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), _DOUBLE.size, prot=mmap.PROT_READ)
    true_time = time.time  # noqa: TID251 - the very clock that is moved

    def moved_time() -> float:
        return true_time() + float(_DOUBLE.unpack_from(offset)[0])

    time.time = moved_time  # noqa: TID251 - the same


if "CHAOS_CLOCK" in os.environ:
    _move_clock(Path(os.environ["CHAOS_CLOCK"]))
