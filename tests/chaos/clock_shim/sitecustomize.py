"""
Moves a program's clocks without a line of test code in it.

Python imports this before the program, when its directory is on PYTHONPATH. The file named by
CHAOS_CLOCK holds two doubles: seconds by which ``time.time()`` is off, and seconds for which
``time.monotonic()`` stood still, as Linux' does while the machine sleeps. It is mapped, so that
a jump takes effect at once in a process that runs.
"""

import mmap
import os
import struct
import time
from pathlib import Path

_DOUBLES = struct.Struct("dd")


def _move_clocks(file: Path) -> None:
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), _DOUBLES.size, prot=mmap.PROT_READ)
    true_time, true_monotonic = time.time, time.monotonic  # noqa: TID251 - what is moved

    def moved_time() -> float:
        return true_time() + float(_DOUBLES.unpack_from(offset)[0])

    def moved_monotonic() -> float:
        return true_monotonic() - float(_DOUBLES.unpack_from(offset)[1])

    time.time = moved_time  # noqa: TID251 - the same
    time.monotonic = moved_monotonic


if "CHAOS_CLOCK" in os.environ:
    _move_clocks(Path(os.environ["CHAOS_CLOCK"]))
