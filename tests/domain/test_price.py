"""What a task costs by a price."""

import pytest

from gateway.domain.edit import Size
from gateway.domain.price import Bill, Price

PLAIN = Price(0.2, "CNY")
TIERS = Price(0.25, "CNY", large_picture=0.5, large_pixels=2_250_000, input_picture=0.02)
REWRITTEN = Price(0.1, "CNY", extended_picture=0.2)
AT_BORDER, ABOVE = Size(1500, 1500), Size(1500, 1501)


@pytest.mark.parametrize(
    ("price", "bill", "cost"),
    [
        pytest.param(PLAIN, Bill((ABOVE,)), 0.2, id="one"),
        pytest.param(PLAIN, Bill((None,) * 4, inputs=3, extended=True), 0.8, id="one price"),
        pytest.param(TIERS, Bill((AT_BORDER,)), 0.25, id="at the border"),
        pytest.param(TIERS, Bill((ABOVE,)), 0.5, id="above the border"),
        pytest.param(TIERS, Bill((AT_BORDER, ABOVE), inputs=3), 0.81, id="each by its size"),
        pytest.param(TIERS, Bill((None,)), 0.5, id="of unknown size"),
        pytest.param(TIERS, Bill((), inputs=3), 0.0, id="nothing made"),
        pytest.param(REWRITTEN, Bill((ABOVE,)), 0.1, id="as it was written"),
        pytest.param(REWRITTEN, Bill((ABOVE,), extended=True), 0.2, id="rewritten"),
    ],
)
def test_what_a_task_costs(price: Price, bill: Bill, cost: float) -> None:
    """Pictures made, each by its size; pictures put in, once; nothing where none was made."""
    assert price.cost(bill) == pytest.approx(cost)
