"""``wan-gateway restore``: a backup in the place of the ledger."""

from argparse import Namespace
from collections.abc import Mapping

from gateway.commands.ledger_file import ledger_file
from gateway.config import ConfigError
from gateway.ledger.backup import restore
from gateway.ledger.errors import LedgerError


def run(args: Namespace, environ: Mapping[str, str]) -> int:
    """
    Restore a backup; no gateway may run.

    Args:
        args: The command line: ``config``, ``file``, ``replace``, ``submit_promised``.
        environ: Holds what the config refers to.

    Raises:
        ConfigError: the ledger is no file or in use, or one of the files cannot be used.
    """
    ledger = ledger_file(args.config, environ)
    try:
        done = restore(args.file, ledger, replace=args.replace, keep_promised=args.submit_promised)
    except LedgerError as error:
        raise ConfigError(f"{error.key}: {error}") from None
    print(f"{ledger}: {done.edits} edits, as of {done.taken_at}")
    if done.replaced:
        print(f"The ledger that was there is {done.replaced} now.")
    if done.dropped:
        print(
            f"{done.dropped} edits that were answered with 202 and had not been submitted are left "
            "out: they may have been submitted since, and would be paid for twice."
        )
    return 0
