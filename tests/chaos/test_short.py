"""A short chaos run: real processes, real kills, the real SDK."""

from pathlib import Path

import pytest

from tests.chaos.run import Plan, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


def test_short_storm(tmp_path: Path) -> None:
    """Through kills, a drain, a sleep and other names nothing is paid twice, lost or mixed up."""
    plan = Plan(
        seconds=20,
        kills=4,
        seed=1,
        processes=1,
        clients=12,
        drains=1,
        renames=1,
        sleeps=1,
        longest_sleep=8.0,
    )

    outcome = run(plan, tmp_path)

    assert outcome.verdict.clean, outcome.text
    assert outcome.verdict.served > 0
