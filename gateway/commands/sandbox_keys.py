"""The keys of the simulated regions in a file, so that a rotation of keys can be rehearsed."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.config import ConfigError
from gateway.sandbox import Accounts, check_accounts

_LOG = logging.getLogger("gateway.sandbox")
_FORM = '{"beijing": {"acme": ["sk-1", "sk-2"]}, "singapore": {"acme": ["sk-3"]}}'


class KeysFile:
    """
    Keys by region and account, which are read again when the file changes.

    A changed file that cannot be used is logged, and the keys before it stay valid.

    Args:
        file: JSON, as ``{"beijing": {"acme": ["sk-1", "sk-2"]}, "singapore": {…}}``.
        regions: Those that must have keys.

    Raises:
        ConfigError: it cannot be used; the message names the place, and no key.
    """

    def __init__(self, file: Path, regions: Sequence[str]) -> None:
        self._file = file
        self._regions = regions
        self._read_at = self._changed_at()
        self._by_region = self._read()

    def accounts(self, region: str) -> Accounts:
        """Return the keys of *region* by account: the same object until the file changes."""
        changed_at = self._changed_at()
        if changed_at != self._read_at:
            self._read_at = changed_at
            try:
                self._by_region = self._read()
            except ConfigError as error:
                _LOG.warning("%s; the keys before stay valid", error)
            else:
                _LOG.warning("%s: read again", self._file)
        return self._by_region[region]

    def _changed_at(self) -> tuple[int, ...]:
        """Return what differs after a change, also after one that replaces the file."""
        try:
            state = self._file.stat()
        except OSError:
            return ()
        return state.st_mtime_ns, state.st_size, state.st_ino

    def _read(self) -> dict[str, Accounts]:
        try:
            content = json.loads(self._file.read_text("utf-8"))
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
            raise ConfigError(f"{self._file}: {what}; fix --keys") from None
        except ValueError as error:
            raise ConfigError(f"{self._file}: is not JSON: {error}; fix that line") from None
        if not isinstance(content, Mapping):
            raise ConfigError(f"{self._file}: is not an object; write {_FORM}")
        return {region: self._of(region, content.get(region)) for region in self._regions}

    def _of(self, region: str, value: Any) -> Accounts:
        place = f"{self._file}: {region}"
        if not isinstance(value, Mapping) or not value:
            raise ConfigError(f"{place}: has no accounts; write {_FORM}")
        for account, keys in value.items():
            if not isinstance(keys, list) or not keys:
                raise ConfigError(f"{place}.{account}: is not a list of keys; write {_FORM}")
            if not all(isinstance(key, str) and key.isprintable() and key for key in keys):
                raise ConfigError(f"{place}.{account}: holds what is no key; write texts")
        accounts = {account: tuple(keys) for account, keys in value.items()}
        try:
            check_accounts(accounts)
        except ValueError as error:
            raise ConfigError(f"{place}: {error}; give it to one of them") from None
        return accounts
