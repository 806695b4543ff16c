"""A short chaos run: real processes, real kills, the real SDK."""

from pathlib import Path

import pytest

from tests.chaos.run import Plan, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


def test_short_storm(tmp_path: Path) -> None:
    """Through four kills and a drain nothing is paid twice, lost, or given to the wrong one."""
    outcome = run(Plan(seconds=12, kills=4, seed=1, processes=1, customers=10, drains=1), tmp_path)

    assert outcome.verdict.clean, outcome.text
    assert outcome.verdict.served > 0
