import pytest
from hypothesis import HealthCheck, settings

# An example that takes long on a busy machine is no finding, and nothing here is a matter of speed.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
