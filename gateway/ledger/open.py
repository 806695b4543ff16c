"""From ``[state]`` of the config to a ledger."""

from collections.abc import Callable

from gateway.domain.clock import Clock
from gateway.ledger.age import boot_id
from gateway.ledger.memory import MemoryLedger
from gateway.ledger.sqlite import SqliteLedger


def open_ledger(
    state_path: str,
    sync: str,
    clock: Clock,
    *,
    on_failure: Callable[[Exception], None] = lambda _: None,
) -> MemoryLedger | SqliteLedger:
    """
    Return the ledger; no I/O happens before it is entered with ``async with``.

    Args:
        state_path: A file, or ``memory``.
        sync: ``normal`` or ``full``.
        clock: Tells when an edit is too old to be kept.
        on_failure: Told of writes that failed, for the operator's log: the client of an
            edit that is already paid for hears nothing of them.

    Raises:
        LedgerError: on entering: the file cannot be used as a ledger.
    """
    if state_path == "memory":
        return MemoryLedger(clock.now)
    return SqliteLedger(
        state_path,
        sync=sync,
        epoch=clock.epoch,
        elapsed=clock.now,
        boot=boot_id(),
        on_failure=on_failure,
    )
