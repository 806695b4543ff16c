"""``[prices.REGION]`` over the built-in list: what a picture of a model costs there."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.config.keys import take
from gateway.config.rules import Number, Unfit
from gateway.config.table import Table, one_of, shown
from gateway.domain.models import MODELS
from gateway.domain.tenant import Price

CURRENCIES = {"beijing": "CNY", "singapore": "USD"}
"""Region → the currency of its list prices; in any other region it is CNY."""

_AMOUNTS = {
    # Per picture made, without free quotas, in October 2026
    # (docs/reference/dashscope.md 6.2).
    "wan2.5-i2i-preview": (0.20, 0.03),
    "wan2.5-t2i-preview": (0.20, 0.03),
    "wan2.6-image": (0.20, 0.03),
    "wan2.6-t2i": (0.20, 0.03),
    "qwen-image-edit-plus": (0.20, 0.03),
}

PRICES = {
    (region, model): Price(amount, CURRENCIES[region])
    for model, amounts in _AMOUNTS.items()
    for region, amount in zip(CURRENCIES, amounts, strict=True)
}
"""The list price of a picture by region and model; the config may override it."""

_TEXT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ([A-Z]{3})")


@dataclass(frozen=True, slots=True)
class PriceRule:
    takes: str = 'a number from 0, in the currency of the region, or a text such as "0.03 USD"'

    def read(self, value: object) -> float | Price:
        if isinstance(value, str):
            if (match := _TEXT.fullmatch(value)) is None:
                raise Unfit(f"got {shown(value)}")
            return Price(float(match[1]), match[2])
        return Number(0, or_least=True).read(value)


def read_prices(table: Table, regions: Iterable[str]) -> Mapping[tuple[str, str], Price]:
    """
    Return the price of a picture by region and model.

    Raises:
        ConfigError: a region or model is not known, or a price is none.
    """
    known = tuple(regions)
    prices = dict(PRICES)
    for region, one in table.tables().items():
        if region not in known:
            raise table.wrong(region, f"{shown(region)} is not a region", f"use {one_of(known)}")
        one.only(MODELS)
        for model in one.values:
            said = take(one, model, PriceRule())
            currency = CURRENCIES.get(region, "CNY")
            prices[region, model] = said if isinstance(said, Price) else Price(said, currency)
    return MappingProxyType(prices)
