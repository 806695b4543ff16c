"""Where a gateway of this machine is reached, by the ``[server]`` of its config."""

from gateway.config import ConfigError, ServerConfig

_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not listened on


def url_of(server: ServerConfig) -> str:
    """
    Return the URL of a gateway on this machine, without a path.

    Raises:
        ConfigError: it listens on a port that the system chose.
    """
    if not server.port:
        raise ConfigError("--url: the gateway listens on a free port; give the URL that it logged")
    host = server.host.strip("[]")
    host = _LOOPBACK_OF.get(host, host)
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"
