"""A config that is read again while the gateway serves, and taken or refused as a whole (D116)."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from gateway.config.changes import Changes
from gateway.config.explain import warnings
from gateway.config.schema import Config
from gateway.config.table import ConfigError
from gateway.downstream.access_record import safe_traceback
from gateway.observe.logs import set_level
from gateway.observe.process_file import ProcessFile

_MOST_PATHS = 50
_UNCHANGED = "The config is reloaded; nothing in it has changed."


class Reloadable(Protocol):
    """What takes another config; gateway.app.Gateway implements it."""

    def reload(self, config: Config) -> Changes:
        """
        Serve by *config* from the next request on.

        Raises:
            ConfigError: it cannot be taken without a restart; nothing has changed.
        """
        ...

    def refuse_reload(self) -> None:
        """Count a reload that was refused."""
        ...


class Reloader:
    """
    Performs reloads, one after another.

    Args:
        load: Reads and checks the config; called in a thread.
        gateway: Takes it.
        file: Where the outcome is written for ``wan-gateway reload``.
        on_reloaded: Called with each config that was taken.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        gateway: Reloadable,
        file: ProcessFile,
        on_reloaded: Callable[[Config], None],
    ) -> None:
        self._load = load
        self._gateway = gateway
        self._file = file
        self._on_reloaded = on_reloaded
        self._requested = asyncio.Event()
        self._log = structlog.get_logger("gateway.config")

    def request(self) -> None:
        """Have a reload begin soon; one that runs is followed by another."""
        self._requested.set()

    async def run(self) -> None:
        """Perform the requested reloads until cancelled."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            await self._reload()

    async def _reload(self) -> None:
        self._file.begin()
        try:
            config = await asyncio.to_thread(self._load)
            changes = self._gateway.reload(config)
        except ConfigError as error:
            self._refuse(*error.lines)
        except Exception as error:  # noqa: BLE001 - the config in force stays, whatever it is
            self._log.error("bug", bug=safe_traceback(error))
            self._refuse("The gateway failed while it read the config; its log says why.")
        else:
            self._take(config, changes)

    def _refuse(self, reason: str, *others: str) -> None:
        self._gateway.refuse_reload()
        for line in (reason, *others):
            self._log.error("config_reload_failed", reason=line)
        self._file.end(refusal="\n".join([reason, *others]))

    def _take(self, config: Config, changes: Changes) -> None:
        set_level(config.log.level)
        self._on_reloaded(config)
        self._log.info("config_reloaded", **_fields(changes))
        for warning in warnings(config):
            self._log.warning("config", mind=warning)
        self._file.end(outcome=_outcome(changes))


def _fields(changes: Changes) -> dict[str, str]:
    kinds = {"added": changes.added, "removed": changes.removed, "changed": changes.changed}
    return {kind: _listed(paths) for kind, paths in kinds.items() if paths}


def _outcome(changes: Changes) -> str:
    if not changes:
        return _UNCHANGED
    fields = [f"{kind}: {paths}" for kind, paths in _fields(changes).items()]
    return "\n".join(["The config is reloaded.", *fields])


def _listed(paths: tuple[str, ...]) -> str:
    more = len(paths) - _MOST_PATHS
    return ", ".join(paths[:_MOST_PATHS]) + (f" and {more} more" if more > 0 else "")
