"""What pictures cost: the built-in list against Alibaba's, and a config's own prices."""

from pathlib import Path

import pytest

from gateway.config.model_table import read_models
from gateway.config.table import Table
from gateway.domain.edit import Size
from gateway.domain.models import Operation
from gateway.domain.price import Bill, Price
from tests.config.toml import GOOD, load
from tests.models import MODELS, is_snapshot

SMALL, BORDER, LARGE = Size(1024, 1024), Size(1500, 1500), Size(2048, 2048)
MAINLAND = ("beijing", "virginia", "frankfurt", "tokyo")
"""One price in CNY, where a model is there at all; Hong Kong has its own list."""

# A picture in Beijing and the other regions in CNY, and in Singapore in USD.
PLAIN = {
    "wan2.5-i2i-preview": (0.20, 0.03),
    "wan2.5-t2i-preview": (0.20, 0.03),
    "wan2.6-image": (0.20, 0.03),
    "wan2.6-t2i": (0.20, 0.03),
    "wan2.7-image": (0.20, 0.03),
    "wan2.7-image-pro": (0.50, 0.075),
    "qwen-image-2.1-pro": (0.25, 0.04),
    "qwen-image-2.1-turbo": (0.10, 0.016),
    "qwen-image-2.0-pro": (0.50, 0.075),
    "qwen-image-2.0": (0.20, 0.035),
    "qwen-image-edit-max": (0.50, 0.075),
    "qwen-image-edit-plus": (0.20, 0.03),
    "qwen-image-edit": (0.30, 0.045),
    "qwen-image-max": (0.50, 0.075),
    "qwen-image-plus": (0.20, 0.03),
    "qwen-image": (0.25, 0.035),
}
# Size, then as above.
TIERS = {
    "qwen-image-3.0": {SMALL: (0.18, 0.03), BORDER: (0.18, 0.03), LARGE: (0.18, 0.03)},
    "qwen-image-3.0-pro": {SMALL: (0.25, 0.04), BORDER: (0.25, 0.04), LARGE: (0.50, 0.075)},
}
INPUT = (0.02, 0.003)
REWRITTEN = {"z-image-turbo": ((0.10, 0.015), (0.20, 0.03))}
IN_HONG_KONG = {"qwen-image-2.1-pro": 0.25, "qwen-image-2.1-turbo": 0.10}

_, LISTED = read_models(Table("test", "models", {}))


def expected(name: str, size: Size, *, n: int, inputs: int, extended: bool, usd: bool) -> float:
    """Return what Alibaba's list says, by figures of this test alone."""
    if name in TIERS:
        return n * TIERS[name][size][usd] + inputs * INPUT[usd]
    if name in REWRITTEN:
        return n * REWRITTEN[name][extended][usd]
    return n * PLAIN[name][usd]


@pytest.mark.parametrize("region", [*MAINLAND, "singapore"])
@pytest.mark.parametrize("name", [name for name in MODELS if not is_snapshot(name)])
def test_the_list(name: str, region: str) -> None:
    """Each model costs in each of its regions what Alibaba's list of October 2026 says."""
    model = MODELS[name]
    if model.regions and region not in model.regions:
        assert (region, name) not in LISTED
        return
    price = LISTED[region, name]
    usd = region == "singapore"
    most_inputs = model.inputs.most if model.does(Operation.EDIT) else 0
    for size in (SMALL, BORDER, LARGE):
        for n in (1, model.most_made):
            for inputs in {0, 1, most_inputs} if most_inputs else {0}:
                for extended in (False, True):
                    bill = Bill((size,) * n, inputs, extended)
                    cost = expected(name, size, n=n, inputs=inputs, extended=extended, usd=usd)
                    assert price.cost(bill) == pytest.approx(cost)
    assert price.currency == ("USD" if usd else "CNY")


def test_hong_kong() -> None:
    """There the list has prices of two models; of qwen-image-3.0 it says none."""
    listed = {name: price for (region, name), price in LISTED.items() if region == "hongkong"}

    assert listed == {name: Price(cost, "CNY") for name, cost in IN_HONG_KONG.items()}


def test_snapshots() -> None:
    """A dated snapshot costs what its model does."""
    for name in filter(is_snapshot, MODELS):
        model = name[: -len("-2026-01-31")]
        assert LISTED["beijing", name] == LISTED["beijing", model]


PRO = "qwen-image-3.0-pro"


def test_what_replaces_the_list(tmp_path: Path) -> None:
    """A number or text is the whole price: pictures of every size, none put in; a table is one."""
    config = load(
        tmp_path,
        f'{GOOD}\n[prices.beijing]\n"{PRO}" = 0.22\n"z-image-turbo" = "0.01 EUR"\n'
        '"qwen-image-3.0" = { picture = 0.15, input_picture = 0.01 }\n'
        f'[prices.singapore."{PRO}"]\npicture = "0.03 USD"\nextended_picture = 0.05\n'
        "large_picture = 0.06\nlarge_pixels = 1_000_000\n",
    )

    assert config.prices["beijing", PRO] == Price(0.22, "CNY")
    assert config.prices["beijing", "z-image-turbo"] == Price(0.01, "EUR")
    assert config.prices["beijing", "qwen-image-3.0"] == Price(0.15, "CNY", input_picture=0.01)
    assert config.prices["singapore", PRO] == Price(
        0.03, "USD", large_picture=0.06, large_pixels=1_000_000, extended_picture=0.05
    )
    assert config.prices["tokyo", PRO] == LISTED["tokyo", PRO]


def test_prices_of_a_model(tmp_path: Path) -> None:
    """A model's table has prices of the same kinds; those of a region outrank them."""
    config = load(
        tmp_path,
        f'[models."{PRO}"]\nprices = {{ beijing = {{ picture = "1.00 CNY", '
        'input_picture = "0.50 CNY" }, tokyo = "2.00 CNY" }\n'
        f'{GOOD}\n[prices.tokyo]\n"{PRO}" = 3\n',
    )

    assert config.prices["beijing", PRO] == Price(1.0, "CNY", input_picture=0.5)
    assert config.prices["tokyo", PRO] == Price(3.0, "CNY")
    assert ("singapore", PRO) not in config.prices


def test_every_price_has_a_model_in_its_region() -> None:
    """No price is of a region that does not have the model."""
    for region, name in LISTED:
        assert not MODELS[name].regions or region in MODELS[name].regions
