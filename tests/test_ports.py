import socket

from tests import ports


def test_a_free_port_can_be_listened_on() -> None:
    """A server opens where the port is, which the kernel gives to no connection by itself."""
    port = ports.free_port()

    with socket.create_server(("127.0.0.1", port)) as server:
        assert server.getsockname()[1] == port
    assert 1024 < port < 32_768


def test_a_taken_port_is_not_given() -> None:
    """Where somebody listens already, the next one is tried."""
    taken, free = ports.free_port(), ports.free_port()
    draws = iter([taken, taken, free])

    with socket.create_server(("127.0.0.1", taken)):
        assert ports.free_port(lambda: next(draws)) == free
