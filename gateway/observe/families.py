"""
How a metric family is declared: its name, its help and the closed set of values of each label.

Nothing that a client types becomes a label value, nor an id, a key or free text. A value
outside its set counts as ``_other`` and in metrics_label_overflow_total; a tenant that is not
in the config counts as ``_unknown``, because its edits may outlive it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

PREFIX = "wan_gateway_"
OTHER = "_other"
UNKNOWN = "_unknown"

Initial = Mapping[str, Sequence[str]]
"""Label → the values that have a series from the start; a label left out has all of its values."""
_ALL: Initial = MappingProxyType({})

_M = TypeVar("_M", bound=MetricWrapperBase)


@dataclass(slots=True)
class MetricFamily(Generic[_M]):
    """One family, with a cache of its series: prometheus_client's look-up takes a lock."""

    name: str
    """Without the prefix, and without the suffixes of its series."""
    metric: _M
    labels: dict[str, tuple[str, ...]]
    """Label → its values, in the order of the labels."""
    initial: Initial | None
    """``None``: a series begins with its first event."""
    on_overflow: Callable[[str], None]
    """Called with the label that got a value outside its set."""
    _series: dict[tuple[str, ...], _M] = field(default_factory=dict)

    def of(self, *values: str) -> _M:
        """Return the series with *values*, which are in the order of the labels."""
        series = self._series.get(values)
        if series is None:
            values = tuple(map(self.closed, self.labels, values))
            series = self._series.get(values)
        if series is None:
            series = self.metric.labels(*values) if values else self.metric
            self._series[values] = series
        return series

    def initial_series(self, **fixed: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the values of each series that exists from the start, with those *fixed*."""
        if self.initial is None:
            return []
        choices = {**self.labels, **self.initial, **fixed}
        return list(product(*(choices[label] for label in self.labels)))

    def start(self, **fixed: Sequence[str]) -> None:
        """Put these series at 0, so that ``increase()`` counts their first event, too."""
        for values in self.initial_series(**fixed):
            self.of(*values)

    def widen(self, label: str, values: Sequence[str]) -> tuple[str, ...]:
        """Add *values* to the set of *label*, if there is one; return those that are new."""
        old = self.labels.get(label, tuple(values))
        new = tuple(value for value in dict.fromkeys(values) if value not in old)
        if new:
            self.labels[label] = (*old, *new)
        return new

    def remove(self, *values: str) -> None:
        """Remove the series with *values*: what it describes is gone."""
        if self._series.pop(values, None) is not None:
            self.metric.remove(*values)

    def closed(self, label: str, value: str) -> str:
        """Return *value* if it is in the set of *label*, else ``_other`` or ``_unknown``."""
        if value in self.labels[label]:
            return value
        if label == "tenant":
            return UNKNOWN
        if value.lower() != OTHER:
            self.on_overflow(label)
        return OTHER


class Families:
    """
    Declares families on *registry*, and iterates over them in the order of declaration.

    Args:
        registry: Where they are collected.
        first: Of these labels, the values whose series exist from the start.
    """

    def __init__(
        self, registry: CollectorRegistry, first: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._registry = registry
        self._first = first or {}
        self._families: list[MetricFamily[Any]] = []
        self._overflow: MetricFamily[Counter]

    def __iter__(self) -> Iterator[MetricFamily[Any]]:
        return iter(self._families)

    def counter(
        self, name: str, says: str, initial: Initial | None = _ALL, **labels: Sequence[str]
    ) -> MetricFamily[Counter]:
        counter = Counter(PREFIX + name, says, tuple(labels), registry=self._registry)
        return self._add(name, counter, initial, labels)

    def gauge(
        self, name: str, says: str, initial: Initial | None = _ALL, **labels: Sequence[str]
    ) -> MetricFamily[Gauge]:
        gauge = Gauge(PREFIX + name, says, tuple(labels), registry=self._registry)
        return self._add(name, gauge, initial, labels)

    def histogram(
        self,
        name: str,
        says: str,
        bounds: Sequence[float],
        initial: Initial | None = _ALL,
        **labels: Sequence[str],
    ) -> MetricFamily[Histogram]:
        """Declare a histogram with upper *bounds*, in the unit of its name."""
        histogram = Histogram(
            PREFIX + name, says, tuple(labels), buckets=bounds, registry=self._registry
        )
        return self._add(name, histogram, initial, labels)

    def _add(
        self, name: str, metric: _M, initial: Initial | None, labels: Mapping[str, Sequence[str]]
    ) -> MetricFamily[_M]:
        closed = {label: tuple(values) for label, values in labels.items()}
        if initial is not None:
            first = {label: values for label, values in self._first.items() if label in labels}
            initial = {**first, **initial}
        family = MetricFamily(
            name, metric, closed, initial, lambda label: self._overflow.of(label).inc()
        )
        self._families.append(family)
        return family

    def widen(self, label: str, values: Sequence[str], *, start: bool) -> None:
        """
        Add *values* to the set of *label* in every family that has it.

        A value never leaves its set: edits of a tenant that is not configured any more still end.

        Args:
            label: Which label.
            values: Some of them may be in its set already.
            start: Whether to put the new series without a tenant at 0.
        """
        for family in self._families:
            new = family.widen(label, values)
            if new and start and "tenant" not in family.labels:
                family.start(**{label: new})

    def start(self) -> None:
        """Put the series without a tenant at 0; call it after the last declaration."""
        closed = dict.fromkeys(
            label for family in self._families for label in family.labels if label != "tenant"
        )
        self._overflow = self.counter(
            "metrics_label_overflow", "Label values outside their closed set.", label=tuple(closed)
        )
        for family in self._families:
            if "tenant" not in family.labels:
                family.start()
