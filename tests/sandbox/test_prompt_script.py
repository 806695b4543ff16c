"""Outcomes that are written into the prompt."""

import pytest

from gateway.sandbox.faults import End, end_by_prompt
from gateway.sandbox.responses import Refusal


@pytest.mark.parametrize(
    ("prompt", "end"),
    [
        pytest.param("a hat", End(), id="none"),
        pytest.param(
            "a [sandbox:fail DataInspectionFailed] hat",
            End("FAILED", "DataInspectionFailed"),
            id="fail",
        ),
        pytest.param("[sandbox:fail]", End("FAILED"), id="fail-by-default"),
        pytest.param("[sandbox:partial 1]", End(images=(1,)), id="partial"),
        pytest.param("[sandbox:partial 0, 2]", End(images=(0, 2)), id="partial-two"),
        pytest.param("[sandbox:seconds 2.5]", End(seconds=2.5), id="seconds"),
        pytest.param("[sandbox:cancel]", End("CANCELED"), id="cancel"),
        pytest.param(
            "[sandbox:unknown] and [sandbox:seconds 1]", End("UNKNOWN", seconds=1), id="two"
        ),
    ],
)
def test_ends(prompt: str, end: End) -> None:
    """Each script decides its part of the end."""
    assert end_by_prompt(prompt) == end


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        pytest.param("[sandbox:refuse Arrearage]", 400, "Arrearage", id="refuse"),
        pytest.param("[sandbox:refuse Throttling]", 429, "Throttling", id="refuse-429"),
        pytest.param("[sandbox:refuse]", 400, "InvalidParameter", id="refuse-by-default"),
        pytest.param("[sandbox:refuse Odd]", 400, "Odd", id="refuse-unlisted"),
        pytest.param("[sandbox:partial x]", 400, "InvalidParameter", id="partial-of-nothing"),
        pytest.param("[sandbox:seconds nan]", 400, "InvalidParameter", id="not-a-time"),
        pytest.param("[sandbox:dance]", 400, "InvalidParameter", id="no-script"),
    ],
)
def test_refusals(prompt: str, status: int, code: str) -> None:
    """A script can refuse at POST, and one that is none is refused."""
    with pytest.raises(Refusal) as caught:
        end_by_prompt(prompt)

    assert (caught.value.status, caught.value.code) == (status, code)
