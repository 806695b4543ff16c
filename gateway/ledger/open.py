"""From ``[state]`` of the config to the ledger and what is kept beside it; no I/O yet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.domain.clock import Clock
from gateway.ledger.edit_files import (
    MASK_SOURCES_UNAVAILABLE,
    PROMISES_UNAVAILABLE,
    RESULT_URLS_UNAVAILABLE,
    EditFiles,
    FileMaskSources,
    FilePromisedEdits,
    FileResultUrls,
    MemoryMaskSources,
    MemoryResultUrls,
    NoPromisedEdits,
)
from gateway.ledger.memory import MemoryLedger
from gateway.ledger.spool import FileSpool
from gateway.ledger.sqlite import SqliteLedger, boot_id


@dataclass(frozen=True, slots=True)
class Stores:
    """All that outlives a request. *ledger* and *spool* are entered with ``async with``."""

    ledger: MemoryLedger | SqliteLedger
    mask_sources: MemoryMaskSources | FileMaskSources
    result_urls: MemoryResultUrls | FileResultUrls
    promises: NoPromisedEdits | FilePromisedEdits
    spool: FileSpool


def open_stores(
    state_path: str,
    sync: str,
    clock: Clock,
    *,
    on_failure: Callable[[Exception], None] = lambda _: None,
) -> Stores:
    """
    Return the stores; no I/O happens before they are entered or used.

    Args:
        state_path: The ledger's file, or ``memory``.
        sync: ``normal`` or ``full``; what is kept beside the ledger is as durable as it.
        clock: Tells when an edit is too old to be kept.
        on_failure: Called with each write that failed, for the operator's log: the client of
            an edit that is already paid for does not hear of them.

    Raises:
        LedgerError: on entering the ledger: the file cannot be used as one.
    """
    if state_path == "memory":
        return Stores(
            MemoryLedger(clock.now),
            MemoryMaskSources(),
            MemoryResultUrls(),
            NoPromisedEdits(),
            FileSpool(None, on_failure),
        )
    path = Path(state_path).resolve()

    def beside(suffix: str, message: str) -> EditFiles:
        folder = path.with_name(path.name + suffix)
        return EditFiles(folder, durable=sync == "full", message=message, on_failure=on_failure)

    ledger = SqliteLedger(
        path,
        sync=sync,
        epoch=clock.epoch,
        elapsed=clock.now,
        boot=boot_id(),
        on_failure=on_failure,
    )
    return Stores(
        ledger,
        FileMaskSources(beside(".keep", MASK_SOURCES_UNAVAILABLE)),
        FileResultUrls(beside(".receipts", RESULT_URLS_UNAVAILABLE)),
        FilePromisedEdits(beside(".promised", PROMISES_UNAVAILABLE)),
        FileSpool(path.with_name(path.name + ".spool"), on_failure),
    )
