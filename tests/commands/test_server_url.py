import pytest

from gateway.commands.server_url import url_of
from gateway.config import ConfigError, ServerConfig


@pytest.mark.parametrize(
    ("host", "url"),
    [
        pytest.param("127.0.0.1", "http://127.0.0.1:80", id="an address"),
        pytest.param("0.0.0.0", "http://127.0.0.1:80", id="all addresses"),
        pytest.param("::", "http://[::1]:80", id="all of IPv6 too"),
        pytest.param("::1", "http://[::1]:80", id="IPv6"),
        pytest.param("[::1]", "http://[::1]:80", id="IPv6 in brackets"),
    ],
)
def test_where_the_gateway_is(host: str, url: str) -> None:
    """A gateway is asked where its config lets it listen."""
    assert url_of(ServerConfig(host=host, port=80)) == url


def test_a_free_port_is_not_known() -> None:
    """With port 0 the system chose, and only the log has the URL."""
    with pytest.raises(ConfigError, match="give the URL that it logged"):
        url_of(ServerConfig(port=0))
