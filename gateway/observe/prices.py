"""What upstream charges, for the estimate of cost: its list prices of October 2026."""

from gateway.observe.labels import Price

# dashscope.md 6.2: for each picture that was made, without the free quota of new accounts.
PRICES = {
    ("beijing", "wan2.5-i2i-preview"): Price(0.20, "CNY"),
    ("singapore", "wan2.5-i2i-preview"): Price(0.03, "USD"),
    ("beijing", "wan2.6-image"): Price(0.20, "CNY"),
    ("singapore", "wan2.6-image"): Price(0.03, "USD"),
}
"""By region and model; a region of another name has no price, nor a model that is not listed."""
