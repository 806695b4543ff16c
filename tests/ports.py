"""Ports for programs that cannot tell which one they got, so that port 0 is no choice."""

import socket
from collections.abc import Callable
from contextlib import suppress
from random import SystemRandom

_LOW, _HIGH = 15_000, 30_000
"""
Below where Linux (32768) and macOS (49152) begin to take ports by themselves: what is free here
stays free until it is bound, however many connections other tests make meanwhile.
"""


def _draw() -> int:
    # Not seeded: workers that run beside each other would all choose the same.
    return SystemRandom().randrange(_LOW, _HIGH)


def free_port(draw: Callable[[], int] = _draw) -> int:
    """Return a port of 127.0.0.1 where nobody listens, and that no connection will take."""
    while True:
        port = draw()
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
