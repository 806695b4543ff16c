from pathlib import Path

import pytest

from tests.reload.load import run


@pytest.mark.slow
def test_reloads_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request fails, none is paid twice, and what is wrong is refused, whatever runs."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    counted = run(tmp_path, 21, clients=4)

    assert set(counted.answers) == {200}
    assert (counted.reloads, counted.refused) == (18, 3)
    assert counted.tasks == counted.answers[200]
    assert counted.made_twice == 0
