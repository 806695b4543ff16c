"""``[prices]``: what pictures cost, and how a price is written."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gateway.config.rules import Name, Number, Unfit, Whole, take
from gateway.config.table import Table, one_of, shown
from gateway.domain.models import ModelTable
from gateway.domain.price import Price, Prices

_TEXT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ([A-Z]{3})")
_KEYS = ("picture", "large_picture", "large_pixels", "input_picture", "extended_picture")
_AMOUNTS = tuple(key for key in _KEYS if key != "large_pixels")
_CURRENCIES = {"beijing": "CNY", "singapore": "USD"}
"""Region → the currency of its list prices; in any other region it is CNY."""


@dataclass(frozen=True, slots=True)
class PriceRule:
    """One price: of every picture that is made, or a table of what has a price of its own."""

    currency: str = ""
    """Of plain numbers; empty: a price is a text, which names its currency."""

    @property
    def takes(self) -> str:
        amount = 'a text such as "0.03 USD"'
        if self.currency:
            amount = f"a number from 0, in the currency of the region, or {amount}"
        return f"{amount}, or a table with {', '.join(_KEYS)}"

    def read(self, value: object) -> Price:
        return self._table(value) if isinstance(value, dict) else self._amount(value)

    def _amount(self, value: object) -> Price:
        if self.currency and not isinstance(value, str):
            return Price(Number(0, or_least=True).read(value), self.currency)
        match = _TEXT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise Unfit(f"got {shown(value)}")
        return Price(float(match[1]), match[2])

    def _table(self, values: Mapping[str, Any]) -> Price:
        for key in values:
            if key not in _KEYS:
                raise Unfit(f"holds the unknown key {shown(key)}")
        if "picture" not in values:
            raise Unfit("has no key picture")
        if ("large_picture" in values) != ("large_pixels" in values):
            raise Unfit("has one of large_picture and large_pixels without the other")
        prices = {key: self._amount(values[key]) for key in _AMOUNTS if key in values}
        currencies = {price.currency for price in prices.values()}
        if len(currencies) > 1:
            raise Unfit(f"is in {' and '.join(sorted(currencies))}")
        return Price(
            **{key: price.picture for key, price in prices.items()},
            currency=currencies.pop(),
            large_pixels=Whole(1).read(values["large_pixels"]) if "large_pixels" in values else 0,
        )


@dataclass(frozen=True, slots=True)
class PricesByRegion:
    """One price for each region."""

    rule: PriceRule = PriceRule()

    @property
    def takes(self) -> str:
        table = 'a table of regions such as { beijing = "0.20 CNY" }'
        return f"{table}; a price is {self.rule.takes}"

    def read(self, value: object) -> tuple[tuple[str, Price], ...]:
        if not isinstance(value, dict):
            raise Unfit(f"got {shown(value)}")
        return tuple((Name().read(name), self.rule.read(price)) for name, price in value.items())


def read_prices(table: Table, regions: Iterable[str], models: ModelTable, listed: Prices) -> Prices:
    """
    Return the prices by region and model.

    Args:
        table: ``[prices]``.
        regions: The names of all.
        models: All that there are.
        listed: The list prices; one that *table* has is replaced as a whole.

    Raises:
        ConfigError: an unknown region or model, or a value that is not a price.
    """
    names = tuple(regions)
    prices = dict(listed)
    for region, one in table.tables().items():
        if region not in names:
            raise table.wrong(region, f"{shown(region)} is not a region", f"use {one_of(names)}")
        one.only(models.by_name)
        rule = PriceRule(_CURRENCIES.get(region, "CNY"))
        prices |= {(region, model): take(one, model, rule) for model in one.values}
    return MappingProxyType(prices)
