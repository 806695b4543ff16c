from collections.abc import Mapping
from typing import Any

import pytest

from tests.fast_time import FAST_TIME


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return FAST_TIME


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs, which are not changed here, shall find the way to loopback."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
