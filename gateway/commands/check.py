"""``wan-gateway check``: is this config good, and what does it mean?"""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from gateway.config import Config, ConfigError, explain, load_config_to_run
from gateway.edits.takeover import PUT_BACK, OrphanedEditsError, Takeover
from gateway.ledger.errors import LedgerError
from gateway.ledger.reading import list_unfinished


def run(asked: Namespace, environ: Mapping[str, str]) -> int:
    """Print what the config means; raise ConfigError if a start with it would be refused."""
    config = load_config_to_run(asked.config, environ)
    found = _look_into_the_ledger(config)
    print(explain(config))
    if found:
        print(f"\nmind: {found}")
    return 0


def _look_into_the_ledger(config: Config) -> str:
    """
    Return what to know before a start with *config*; it may be read beside a running gateway.

    Raises:
        ConfigError: open edits would be followed by nobody.
    """
    path = Path(config.state.path)
    if config.state.path == "memory" or not path.exists():
        return ""
    takeover = Takeover(config.upstreams.values())
    try:
        records = list_unfinished(path)
        takeover.refuse_orphans(records, config.tenants)
    except LedgerError as error:
        return f"the ledger cannot be looked into: {error}"
    except OrphanedEditsError as error:
        raise ConfigError(f"{config.source}: {error}") from None
    if number := takeover.out_of_reach(records, config.tenants):
        edits = "1 edit" if number == 1 else f"{number} edits"
        return f"the pictures of {edits} could not be fetched any more: {PUT_BACK}"
    return ""
