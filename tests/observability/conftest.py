import pytest
from prometheus_client import CollectorRegistry

from gateway.observe.metrics import ConfiguredNames, Metrics


@pytest.fixture(scope="session")
def exposed() -> frozenset[str]:
    """Every name of a sample that the gateway can export, as Prometheus knows it."""
    registry = CollectorRegistry()
    Metrics(registry, ConfiguredNames())
    return frozenset(registry._names_to_collectors) - {
        name for name in registry._names_to_collectors if name.endswith("_created")
    }
