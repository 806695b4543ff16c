"""Reading ``/metrics``: what was counted meanwhile, and where the tasks are now."""

from collections.abc import Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

Scores = Mapping[str, float]
"""A series as Prometheus spells it, ``name{label="value"}`` → its value."""

_IN_FLIGHT = "wan_gateway_tasks_in_flight"


def counters(exposition: str) -> Scores:
    """Return the gateway's own counters, but for reading them."""
    return {
        f"{name}{_spelled(labels)}": value
        for kind, name, labels, value in _samples(exposition)
        if kind == "counter" and name.startswith("wan_gateway_") and name.endswith("_total")
        if labels.get("route") != "/metrics"
    }


def moved(before: Scores, after: Scores) -> list[str]:
    """Return a line for each counter that moved: ``+2  name{…}``."""
    gains = {name: value - before.get(name, 0) for name, value in after.items()}
    return [f"{gain:+g}  {name}" for name, gain in gains.items() if gain]


def states(exposition: str) -> dict[str, str]:
    """Return the state of each region's tasks, of regions that have any: region → state."""
    return {
        labels["region"]: labels["state"]
        for _, name, labels, value in _samples(exposition)
        if name == _IN_FLIGHT and value > 0
    }


def _samples(exposition: str) -> Iterator[tuple[str, str, Mapping[str, str], float]]:
    """Yield type, name, labels and value of each sample."""
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            yield family.type, sample.name, sample.labels, sample.value


def _spelled(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{inside}}}" if inside else ""
