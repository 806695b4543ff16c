from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from gateway.domain.edit import Size
from gateway.domain.ended import EndedEdit
from gateway.domain.price import Bill, Price
from gateway.observe.edit_log import log_ended_edit

_PRICES = {("beijing", "wan2.5-i2i-preview"): Price(0.2, "CNY")}
_ENDED = EndedEdit(
    edit_id="edit_1",
    request_ids=("req_1", "req_2"),
    tenant="acme",
    region="beijing",
    model="wan2.5-i2i-preview",
    outcome="ok",
    status=200,
    upstreams=("main",),
    accounts=("acme-cn",),
    task_ids=("task-1",),
    upstream_request_ids=("up-1",),
    n=2,
    made=2,
    size="768*512",
    sizes_made=("768*512",),
    seed=None,
    digest="0123456789abcdef",
    adjusted=("1:rotated",),
    ignored=("user",),
    phase_seconds={"queue": 0.5, "upstream_running": 42.0},
    seconds=42.5,
    taken_over=False,
    upstream_code="",
    upstream_message="",
    bills=(Bill(sizes=(Size(768, 512), Size(768, 512))),),
)


def test_everything_is_in_it() -> None:
    """One event has all ids, what was asked and made, the phases and the cost; nothing empty."""
    with capture_logs() as lines:
        log_ended_edit(_PRICES, _ENDED)

    assert lines == [
        {
            "event": "edit_ended",
            "log_level": "info",
            "edit_id": "edit_1",
            "request_ids": ("req_1", "req_2"),
            "tenant": "acme",
            "region": "beijing",
            "model": "wan2.5-i2i-preview",
            "outcome": "ok",
            "status": 200,
            "upstreams": ("main",),
            "accounts": ("acme-cn",),
            "task_ids": ("task-1",),
            "upstream_request_ids": ("up-1",),
            "n": 2,
            "made": 2,
            "size": "768*512",
            "sizes_made": ("768*512",),
            "digest": "0123456789abcdef",
            "adjusted": ("1:rotated",),
            "ignored": ("user",),
            "phase_seconds": {"queue": 0.5, "upstream_running": 42.0},
            "seconds": 42.5,
            "taken_over": False,
            "cost": "0.4 CNY",
        }
    ]


@pytest.mark.parametrize(
    ("status", "level"),
    [
        pytest.param(200, "info", id="well"),
        pytest.param(400, "info", id="of-the-client"),
        pytest.param(500, "warning", id="of-upstream"),
        pytest.param(503, "warning", id="of-an-account"),
    ],
)
def test_who_has_to_look(status: int, level: str) -> None:
    """What no client can help is a warning."""
    with capture_logs() as lines:
        log_ended_edit({}, replace(_ENDED, status=status, outcome="some_code"))

    assert [line["log_level"] for line in lines] == [level]
    assert "cost" not in lines[0]
