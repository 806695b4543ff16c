from typing import Any

import pytest

from tests.rush import RUSH


@pytest.fixture
def anyio_backend() -> Any:
    return RUSH
