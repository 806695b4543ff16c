"""Metrics on a fresh registry, as Prometheus reads them."""

from prometheus_client import CollectorRegistry

from gateway.observe.labels import Configured, Price
from gateway.observe.metrics import Metrics

MODEL = "wan2.5-i2i-preview"
NAMES = Configured(
    tenants=("acme",),
    regions=("beijing", "singapore"),
    models=(MODEL,),
    upstreams=(("beijing", "beijing-main"), ("singapore", "sg-main")),
    accounts=("acme-cn",),
    prices={("beijing", MODEL): Price(0.2, "CNY")},
)
EDITS = "/v1/images/edits"


class World:
    """Metrics on a fresh registry, read as Prometheus would."""

    def __init__(self, names: Configured = NAMES) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, names, commit="abc")

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"wan_gateway_{name}", labels)
