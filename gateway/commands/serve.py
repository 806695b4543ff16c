"""``wan-gateway serve``: the gateway itself."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace

from gateway.commands.heap import keep_buffers
from gateway.config import Config, listen_at, load_config_to_run
from gateway.server import run as run_server


def run(
    asked: Namespace,
    environ: Mapping[str, str],
    serve: Callable[[Config], int] = run_server,
) -> int:
    """
    Serve until told to stop; raise ConfigError before a socket opens.

    Args:
        asked: The command line: ``config``, ``host``, ``port``, ``abandon``.
        environ: Where keys are, and the config if there is no file.
        serve: Runs the gateway to its end; a test hands in its own.
    """
    config = replace(load_config_to_run(asked.config, environ), abandon=asked.abandon)
    keep_buffers()
    return serve(listen_at(config, host=asked.host, port=asked.port))
