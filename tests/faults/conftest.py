from collections.abc import Mapping
from typing import Any

import pytest

from tests.fast_time import FAST_TIME


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return FAST_TIME
