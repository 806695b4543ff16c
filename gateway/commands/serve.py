"""``wan-gateway serve``: run the gateway."""

import ctypes
import gc
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace

from gateway.config import Config, listen_at, load_config_to_run
from gateway.server import run as run_server

# Options of mallopt, from malloc.h.
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_THRESHOLD = -3
_MIB = 2**20


def run(
    args: Namespace,
    environ: Mapping[str, str],
    serve: Callable[[Config, Callable[[], Config]], int] = run_server,
) -> int:
    """
    Serve until a signal stops it; raise ConfigError before a socket opens.

    Args:
        args: The command line: ``config``, ``host``, ``port``, ``abandon``.
        environ: Holds the keys, and the config if there is no file.
        serve: Runs the gateway; a test passes its own.
    """

    def load() -> Config:
        config = replace(load_config_to_run(args.config, environ), abandon=args.abandon)
        return listen_at(config, host=args.host, port=args.port)

    config = load()
    keep_buffers()
    # What the imports and the config made lives as long as the process. To look through it for
    # garbage takes the collector a twentieth of a second, in which the event loop stands still.
    gc.freeze()
    return serve(config, load)


def keep_buffers() -> bool:
    """
    Make malloc serve buffers of up to 32 MiB from the heap, and keep 64 MiB of it when freed.

    By default each buffer of 128 KiB and more is mapped, touched page by page and unmapped
    again, which costs about a sixth of a small edit's CPU (docs/performance.md).

    Returns:
        Whether it took effect; only glibc has these options.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = {_MMAP_THRESHOLD: 32 * _MIB, _TRIM_THRESHOLD: 64 * _MIB, _TOP_PAD: 4 * _MIB}
    return all(mallopt(name, size) == 1 for name, size in options.items())
