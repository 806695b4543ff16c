"""``wan-gateway backup``: the ledger and the files of its edits in one file."""

from argparse import Namespace
from collections.abc import Mapping

from gateway.commands.ledger_file import ledger_file
from gateway.config import ConfigError
from gateway.domain.clock import SystemClock
from gateway.ledger.backup import back_up
from gateway.ledger.errors import LedgerError


def run(args: Namespace, environ: Mapping[str, str]) -> int:
    """
    Back the ledger up; a gateway may run meanwhile.

    Args:
        args: The command line: ``config``, ``file``.
        environ: Holds what the config refers to.

    Raises:
        ConfigError: the ledger is no file, or one of the files cannot be used.
    """
    ledger = ledger_file(args.config, environ)
    try:
        done = back_up(ledger, args.file, SystemClock().epoch())
    except LedgerError as error:
        raise ConfigError(f"{error.key}: {error}") from None
    print(
        f"{args.file}: {done.edits} edits and {done.files} files of theirs, as of {done.taken_at}"
    )
    return 0
