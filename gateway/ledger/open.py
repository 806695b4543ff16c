"""From ``[state]`` of the config to the ledger and what is kept beside it; no I/O yet."""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from gateway.domain.clock import Clock
from gateway.ledger.edit_files import (
    MASK_SOURCES_UNAVAILABLE,
    PROMISES_UNAVAILABLE,
    RESULT_URLS_UNAVAILABLE,
    DurableMaskSources,
    DurablePromisedEdits,
    DurableResultUrls,
    EditFiles,
    MemoryMaskSources,
    MemoryResultUrls,
    NoPromisedEdits,
)
from gateway.ledger.memory import MemoryLedger
from gateway.ledger.spool import FileSpool
from gateway.ledger.sqlite import SqliteLedger, boot_id


async def _is_ready() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Stores:
    """
    All that outlives a request. Enter *database*, *ledger* and *spool* in this order.

    The ledger in PostgreSQL has the methods of the others; its module needs an extra, so that
    its type is not named here.
    """

    ledger: MemoryLedger | SqliteLedger
    mask_sources: MemoryMaskSources | DurableMaskSources
    result_urls: MemoryResultUrls | DurableResultUrls
    promises: NoPromisedEdits | DurablePromisedEdits
    spool: FileSpool
    database: AbstractAsyncContextManager[object] = field(default_factory=nullcontext)
    prepare: Callable[[], Awaitable[str]] = _is_ready
    """Return why the ledger cannot be entered without waiting; empty if it can."""
    is_lost: Callable[[], bool] = lambda: False
    """Whether another gateway has taken the ledger, so that this one has to end."""
    submits_end_at: Callable[[], float] = lambda: 0.0
    """As gateway.edits.ports.Ports says."""
    may_submit: Callable[[], bool] = lambda: True
    """The same."""


def open_stores(
    state_path: str,
    sync: str,
    clock: Clock,
    *,
    url: str | None = None,
    node: str | None = None,
    lease_seconds: float = 10.0,
    home_of: Mapping[str, str] = MappingProxyType({}),
    on_failure: Callable[[Exception], None] = lambda _: None,
) -> Stores:
    """
    Return the stores; no I/O happens before they are entered or used.

    Args:
        state_path: The ledger's file, or ``memory``.
        sync: ``normal`` or ``full``; what is kept beside the ledger is as durable as it.
        clock: Tells when an edit is too old to be kept.
        url: A PostgreSQL database, which is used instead of *state_path*.
        node: This node's name in a cluster: then the ledger is not to be entered, since each
            shard has one of its own, made of the database.
        lease_seconds: How long after a node's death another one may write.
        home_of: For each tenant the account of its first upstream; only for *url*.
        on_failure: Called with each write that failed, for the operator's log: the client of
            an edit that is already paid for does not hear of them.

    Raises:
        LedgerError: on entering the ledger: the file, or the database, cannot be used as one.
    """
    if url is not None:
        return _in_postgres(url, clock, on_failure, home_of, node, lease_seconds)
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
        DurableMaskSources(beside(".keep", MASK_SOURCES_UNAVAILABLE)),
        DurableResultUrls(beside(".receipts", RESULT_URLS_UNAVAILABLE)),
        DurablePromisedEdits(beside(".promised", PROMISES_UNAVAILABLE)),
        FileSpool(path.with_name(path.name + ".spool"), on_failure),
    )


def _in_postgres(
    url: str,
    clock: Clock,
    on_failure: Callable[[Exception], None],
    home_of: Mapping[str, str],
    node: str | None,
    lease_seconds: float,
) -> Stores:
    rows = import_module("gateway.ledger.postgres_files").EditRows
    database = import_module("gateway.ledger.postgres_database").Database(
        url,
        clock,
        node=node or f"{socket.gethostname()}, process {os.getpid()}",
        lease_seconds=lease_seconds,
        on_failure=on_failure,
    )
    ledger = import_module("gateway.ledger.postgres").PostgresLedger(database, home_of=home_of)

    async def prepare() -> str:
        reason: str = await database.prepare()
        return reason if reason or node else str(await ledger.take())

    return Stores(
        ledger,
        DurableMaskSources(rows(database.reader, "mask_sources")),
        DurableResultUrls(rows(database.reader, "result_urls")),
        DurablePromisedEdits(rows(database.reader, "promised_edits")),
        FileSpool(None, on_failure),
        database,
        prepare=prepare,
        is_lost=lambda: ledger.lease.lost,
        submits_end_at=lambda: ledger.submits_end_at,
        may_submit=lambda: ledger.may_submit,
    )
