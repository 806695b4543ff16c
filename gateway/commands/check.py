"""``wan-gateway check``: check a config, and explain what it means."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from gateway.config import Config, ConfigError, explain, load_config_to_run
from gateway.edits.takeover import PUT_BACK, OrphanedEditsError, Takeover
from gateway.ledger.errors import LedgerError
from gateway.ledger.reading import list_unfinished


def run(args: Namespace, environ: Mapping[str, str]) -> int:
    """Print what the config means; raise ConfigError if the gateway would not start with it."""
    config = load_config_to_run(args.config, environ)
    warning = _ledger_warning(config)
    print(explain(config))
    if warning:
        print(f"\nwarning: {warning}")
    return 0


def _ledger_warning(config: Config) -> str:
    """
    Return what the operator should know before a start with *config*, or nothing.

    The ledger can be read while a gateway runs.

    Raises:
        ConfigError: open edits could not be followed any more.
    """
    place = config.state.url or Path(config.state.path)
    if isinstance(place, Path) and (config.state.path == "memory" or not place.exists()):
        return ""
    takeover = Takeover(config.upstreams.values(), config.models)
    try:
        records = list_unfinished(place)
        takeover.refuse_orphans(records, config.tenants)
    except LedgerError as error:
        return f"the ledger cannot be read: {error}"
    except OrphanedEditsError as error:
        raise ConfigError(f"{config.source}: {error}") from None
    if number := takeover.out_of_reach(records, config.tenants):
        edits = "1 edit" if number == 1 else f"{number} edits"
        return f"the pictures of {edits} could not be fetched any more: {PUT_BACK}"
    return ""
