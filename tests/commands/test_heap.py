import platform
import subprocess
import sys
from collections.abc import Callable

import pytest

from gateway.commands import heap

_PROOF = """
import ctypes, resource
from gateway.commands.heap import keep_buffers
if {told}:
    assert keep_buffers()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(2**23); before = faults()
for _ in range(20):
    bytearray(2**23)
print(faults() - before)
"""


def _page_faults(*, told: bool) -> int:
    words = [sys.executable, "-c", _PROOF.format(told=told)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_buffers_are_kept() -> None:
    """A buffer of 8 MiB that is used again and again is not mapped again each time."""
    assert _page_faults(told=True) < _page_faults(told=False) / 2


@pytest.mark.parametrize("trouble", [AttributeError, OSError])
def test_other_libraries_are_left_alone(
    trouble: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no glibc nothing happens."""

    def none(_: object) -> Callable[[int, int], int]:
        raise trouble

    monkeypatch.setattr("ctypes.CDLL", none)

    assert not heap.keep_buffers()
