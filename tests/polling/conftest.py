from collections.abc import Mapping
from typing import Any

import pytest

from tests.warp import WARP


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return WARP
