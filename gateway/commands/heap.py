"""How glibc treats buffers of megabytes: kept for the next edit, not given back at once."""

import ctypes

_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_THRESHOLD = -3  # malloc.h
_MIB = 2**20


def keep_buffers() -> bool:
    """
    Serve buffers up to 32 MiB from the heap, and keep up to 64 MiB of it when they are free.

    By default each buffer of 128 KiB and more is mapped, touched page by page and unmapped
    again, which costs about a sixth of a small edit's CPU (docs/performance.md).

    Returns:
        Whether there was a glibc to tell; elsewhere nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    told = {_MMAP_THRESHOLD: 32 * _MIB, _TRIM_THRESHOLD: 64 * _MIB, _TOP_PAD: 4 * _MIB}
    return all(mallopt(name, size) == 1 for name, size in told.items())
