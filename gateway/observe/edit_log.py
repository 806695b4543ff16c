"""One log event for each edit that ended, so that a complaint can be answered later (D118)."""

import dataclasses

import structlog

from gateway.domain.ended import EndedEdit
from gateway.domain.price import Prices

_SERVER_ERROR = 500


def log_ended_edit(prices: Prices, edit: EndedEdit) -> None:
    """
    Write ``edit_ended`` with all that is known of *edit*, without empty fields.

    It is a warning if the edit failed for a reason that is not the client's.

    Args:
        prices: List prices; without one the cost is left out.
        edit: The edit.
    """
    names = (field.name for field in dataclasses.fields(edit) if field.name != "bills")
    given = {name: getattr(edit, name) for name in names}
    line = {name: value for name, value in given.items() if value not in ("", (), {}, None)}
    price = prices.get((edit.region, edit.model))
    if price is not None and edit.bills:
        cost = sum(price.cost(bill) for bill in edit.bills)
        line["cost"] = f"{round(cost, 6):g} {price.currency}"
    log = structlog.get_logger("gateway.edits")
    write = log.warning if edit.status >= _SERVER_ERROR else log.info
    write("edit_ended", **line)
