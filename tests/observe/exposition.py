"""Metrics on a fresh registry, as Prometheus reads them."""

from prometheus_client import CollectorRegistry

from gateway.domain.price import Price
from gateway.observe.metrics import ConfiguredNames, Metrics

MODEL = "wan2.5-i2i-preview"
NAMES = ConfiguredNames(
    tenants=("acme",),
    regions=("beijing", "singapore"),
    models=(MODEL,),
    upstreams=(("beijing", "beijing-main"), ("singapore", "sg-main")),
    accounts=("acme-cn",),
    prices={("beijing", MODEL): Price(0.2, "CNY")},
)
EDITS = "/v1/images/edits"


class ExposedMetrics:
    """A Metrics, and the values that Prometheus would read."""

    def __init__(self, names: ConfiguredNames = NAMES) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, names, config_hash="1f2e")

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"wan_gateway_{name}", labels)

    def labels(self, name: str) -> dict[str, tuple[str, ...]]:
        """The closed set of each label of a family."""
        (family,) = (family for family in self.metrics.families if family.name == name)
        return dict(family.labels)
