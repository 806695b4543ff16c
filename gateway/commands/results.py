"""``wan-gateway results``: list and delete the pictures that ``[results]`` keeps."""

import asyncio
import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from gateway.commands.tables import print_table
from gateway.config import ConfigError, load_config
from gateway.config.results import place_of
from gateway.config.schema import Config
from gateway.domain.clock import SystemClock
from gateway.domain.errors import ResultStoreUnavailable
from gateway.results.names import ResultName, owner_of, parse_name
from gateway.results.open import open_store
from gateway.results.store import ResultStore, Stored, reason_of


def run(args: Namespace, environ: Mapping[str, str]) -> int:
    """
    List or delete pictures.

    Returns:
        0; 1 if one of the named pictures is not there.

    Raises:
        ConfigError: the config keeps no pictures, or its store fails.
    """
    config = load_config(args.config, environ)
    if config.results is None:
        raise ConfigError(f"{config.source}: results.store: is off; set a store, or stop here")
    failures: list[str] = []
    store = open_store(
        place_of(config.results),
        durable=config.state.sync == "full",
        clock=SystemClock(),
        on_failure=lambda operation, error: failures.append(f"{operation}: {reason_of(error)}"),
    )
    work = _list if args.action == "list" else _delete
    try:
        return asyncio.run(work(args, config, store))
    except ResultStoreUnavailable:
        what = f"the store fails ({'; '.join(failures)})"
        raise ConfigError(f"{config.source}: results.store: {what}; see docs/runbook.md") from None


async def _list(args: Namespace, config: Config, store: ResultStore) -> int:
    tenant_by_owner = {owner_of(name): name for name in config.tenants}
    found = [it async for it in store.list(_owner(args.tenant, config))]
    found.sort(key=lambda stored: stored.modified, reverse=True)
    expires = _expires(config)
    if args.json:
        rows = [
            {
                "name": str(it.name),
                "tenant": tenant_by_owner.get(it.name.owner),
                "edit_id": it.name.edit_id,
                "bytes": it.size,
                "written": _when(it.modified),
                "expires": _when(expires(it)),
            }
            for it in found
        ]
        print(json.dumps(rows, indent=2))
        return 0
    print_table(
        ("WRITTEN (UTC)", "EXPIRES (UTC)", "TENANT", "BYTES", "PICTURE"),
        [
            (
                _when(it.modified),
                _when(expires(it)),
                tenant_by_owner.get(it.name.owner, "?"),
                str(it.size),
                str(it.name),
            )
            for it in found
        ],
        whole="PICTURE",
    )
    return 0


async def _delete(args: Namespace, config: Config, store: ResultStore) -> int:
    if args.names:
        return await _delete_named(args.names, store)
    found = [it async for it in store.list(_owner(args.tenant, config))]
    if args.expired:
        now, expires = SystemClock().epoch(), _expires(config)
        found = [it for it in found if expires(it) < now]
    await store.delete([it.name for it in found])
    print(f"deleted {len(found)}")
    return 0


async def _delete_named(texts: list[str], store: ResultStore) -> int:
    names = [_name(text) for text in texts]
    absent = [name for name in names if await store.find(name) is None]
    await store.delete(names)
    print(f"deleted {len(names) - len(absent)}")
    for name in absent:
        print(f"not there: {name}")
    return 1 if absent else 0


def _name(text: str) -> ResultName:
    """
    Return the name that *text* spells; a whole URL will do.

    Raises:
        ConfigError: it is none.
    """
    name = parse_name(text.partition("?")[0].rpartition("/")[2])
    if name is None:
        what = "is no name of a picture"
        raise ConfigError(f"NAME: {text.partition('?')[0]!r} {what}; take one of results list")
    return name


def _owner(tenant: str | None, config: Config) -> str | None:
    """
    Return what stands for a tenant in names; ``None`` for all.

    Raises:
        ConfigError: no tenant is called so: a typing error would seem to be one without pictures.
    """
    if tenant is None:
        return None
    if tenant not in config.tenants:
        known = ", ".join(config.tenants)
        raise ConfigError(f"--tenant: {tenant!r} is not a tenant of the config; use {known}")
    return owner_of(tenant)


def _expires(config: Config) -> Callable[[Stored], float]:
    assert config.results is not None
    keep_seconds = config.results.keep_seconds
    return lambda stored: stored.modified + keep_seconds


def _when(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
