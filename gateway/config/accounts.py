"""The accounts of the upstreams, and what DashScope lets each do with each model (D113)."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from gateway.config.rules import read
from gateway.config.schema import AccountTable, LimitsTable, UpstreamTable
from gateway.config.table import Table, one_of, shown
from gateway.domain.models import ModelLimits, ModelTable
from gateway.domain.tenant import Account

_LIMITS = ("submits_per_second", "running_tasks", "polls_per_second", "pending_ahead")
_OF_MODEL = {"submits": "submits_per_second", "running": "running_tasks"}
"""Keys of a model's limits, and those of all models that they stand for."""


def read_accounts(
    tables: Mapping[str, Table],
    values: Mapping[str, UpstreamTable],
    of_accounts: Table,
    models: ModelTable,
) -> dict[str, Account]:
    """
    Return the accounts by name, with the limits that their upstreams state.

    Args:
        tables: ``[upstreams.NAME]`` by name.
        values: What they hold, but for their tables of limits.
        of_accounts: ``[accounts]``.
        models: All that there are.

    Raises:
        ConfigError: upstreams of one account contradict each other, or an unknown model or
            account is named.
    """
    regions = _regions(tables, values)
    stated = {account: _Stated() for account in regions}
    for name, one in values.items():
        of_account = stated[one.account or name]
        of_account.add(name, tables[name], "", {limit: getattr(one, limit) for limit in _LIMITS})
        given = tables[name].table("limits")
        given.only(models.by_name)
        for model in given.values:
            table = given.table(model)
            own = read(LimitsTable, table)
            of_account.add(name, table, model, {key: getattr(own, key) for key in _OF_MODEL})
    accounts = {
        name: replace(
            Account(name, region, by_model=stated[name].by_model(region, models)),
            **stated[name].of(""),
        )
        for name, region in regions.items()
    }
    return _with_tables(accounts, of_accounts)


class _Stated:
    """The limits that the upstreams of one account state; they must not differ."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, tuple[str, float]]] = {}
        """By model, the empty name for all: each limit, and the first upstream that states it."""

    def add(
        self, upstream: str, table: Table, model: str, limits: Mapping[str, float | None]
    ) -> None:
        known = self._values.setdefault(model, {})
        for limit, value in limits.items():
            if value is None:
                continue
            by, agreed = known.setdefault(limit, (upstream, value))
            if agreed != value:
                what = f"got {value:g}, but upstreams.{by} of the same account says {agreed:g}"
                raise table.wrong(limit, what, "state it once, or the same value")

    def of(self, model: str) -> dict[str, Any]:
        return {limit: value for limit, (_, value) in self._values.get(model, {}).items()}

    def by_model(self, region: str, models: ModelTable) -> Mapping[str, ModelLimits]:
        """Return the limits of each model: its own there, if nothing is stated for all or it."""
        of_all = {key: it for key, it in self.of("").items() if key in _OF_MODEL.values()}
        limits = {}
        for name, model in models.by_name.items():
            own = {_OF_MODEL[key]: it for key, it in self.of(name).items()}
            limits[name] = replace(model.limits_in(region), **{**of_all, **own})
        return MappingProxyType(limits)


def _regions(tables: Mapping[str, Table], values: Mapping[str, UpstreamTable]) -> dict[str, str]:
    """Return the region of each account, which all of its upstreams must be in."""
    first_of: dict[str, str] = {}
    for name, one in values.items():
        account = one.account or name
        first = first_of.setdefault(account, name)
        if one.region != values[first].region:
            what = f"{shown(account)} is in {values[first].region} by upstreams.{first}"
            remedy = f'use another name in each region, such as "{account}-{one.region}"'
            raise tables[name].wrong("account", what, remedy)
    return {account: values[first].region for account, first in first_of.items()}


def _with_tables(accounts: dict[str, Account], table: Table) -> dict[str, Account]:
    """Add the keys of ``[accounts.NAME]``."""
    for name, one in table.tables().items():
        if name not in accounts:
            raise one.wrong("", "is not an account of an upstream", f"use {one_of(accounts)}")
        accounts[name] = replace(accounts[name], shared=read(AccountTable, one).shared)
    return accounts
