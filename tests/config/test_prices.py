from gateway.config.prices import PRICES
from gateway.domain.models import MODELS


def test_every_model_has_a_price() -> None:
    """The cost of every model's pictures is estimated, in the currency of the region."""
    for model in MODELS:
        assert PRICES["beijing", model].currency == "CNY"
        assert PRICES["singapore", model].currency == "USD"
