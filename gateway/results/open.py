"""From the address of a store to the store; no I/O yet."""

from importlib import import_module
from pathlib import Path

from gateway.domain.clock import Clock
from gateway.results.folder import FolderStore
from gateway.results.store import Bucket, OnFailure, ResultStore


def open_store(
    where: Path | Bucket, *, durable: bool, clock: Clock, on_failure: OnFailure
) -> ResultStore:
    """
    Return the store in a folder or a bucket; nothing happens before it is used.

    Args:
        where: The folder, or the bucket.
        durable: Whether a file survives a loss of power; a bucket always does.
        clock: Time.
        on_failure: Told of each failure of the disk or the service, for the operator.
    """
    if isinstance(where, Path):
        return FolderStore(where, durable=durable, clock=clock, on_failure=on_failure)
    # Only here: its library is an extra.
    module = import_module("gateway.results.object_store")
    store: ResultStore = module.ObjectStore(where, clock=clock, on_failure=on_failure)
    return store
