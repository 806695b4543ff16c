"""What upstream charges, for the estimate of cost: its list prices of October 2026."""

from gateway.observe.labels import Price

CURRENCIES = {"beijing": "CNY", "singapore": "USD"}
"""By region: what its list prices are in; of any other region it is CNY."""

_AMOUNTS = {
    # docs/reference/dashscope.md 6.2: for each picture that was made, without free quotas.
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
"""By region and model; the config may name others."""
