"""The file of the ledger, for commands that copy it."""

from collections.abc import Mapping
from pathlib import Path

from gateway.config import ConfigError, load_server_and_state


def ledger_file(config: Path | None, environ: Mapping[str, str]) -> Path:
    """
    Return where the ledger of *config* is.

    Raises:
        ConfigError: it is in a database or in memory, or *config* cannot be read.
    """
    _, state = load_server_and_state(config, environ)
    source = config or "environment"
    if state.url is not None:
        remedy = "use pg_dump and pg_restore (docs/howto/postgresql.md)"
        raise ConfigError(f"{source}: state.url: the ledger is a PostgreSQL database; {remedy}")
    if state.path == "memory":
        raise ConfigError(
            f'{source}: state.path: is "memory", of which nothing is kept; set a file'
        )
    return Path(state.path).resolve()
