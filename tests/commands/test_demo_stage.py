import socket

import pytest

from gateway.commands.demo_stage import _serve


class Served:
    """A server that has ended, whether it ever began or not."""

    def __init__(self, *, started: bool) -> None:
        self.started = started

    def run(self, sockets: list[socket.socket]) -> None:
        pass


def test_a_gateway_that_does_not_start_ends_the_demo() -> None:
    """Nobody waits for a gateway that is not there."""
    with socket.socket() as listener, pytest.raises(RuntimeError, match="did not start"):
        _serve(Served(started=False), listener)


def test_a_gateway_that_was_stopped_ends_well() -> None:
    """The demo's end is no fault."""
    with socket.socket() as listener:
        _serve(Served(started=True), listener)
