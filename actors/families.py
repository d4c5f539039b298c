"""What is counted, as plain numbers: Prometheus' metrics are made of them when it asks.

Its client library takes 14 ms to import, which no start should wait for, and 1 to 3 us for each count, with locks that
nobody here needs: what one thread counts, others only read.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Labels: TypeAlias = "tuple[str, ...]"
"""The values of a family's labels, in their order."""


class Family(NamedTuple):
    """A metric as it is at a moment, with its values by labels.

    Args:
        kind: Prometheus' word for it.
        name: Its name; Prometheus adds "_total" to a counter's.
        text: What it is, in a sentence.
        labels: The names of its labels.
        samples: The labels' values, and what there is for them: a number; of a summary how many there were and their
            sum; of a histogram its buckets and the sum.
    """

    kind: Literal["counter", "gauge", "summary", "histogram"]
    name: str
    text: str
    labels: Labels
    samples: Sequence[tuple[Labels, tuple[Any, ...]]]


def counter(name: str, text: str, labels: Labels, counts: Mapping[Labels, float]) -> Family:
    """Return counts that only grow."""
    return Family("counter", name, text, labels, [(key, (count,)) for key, count in counts.items()])


def gauge(name: str, text: str, labels: Labels, counts: Mapping[Labels, float]) -> Family:
    """Return figures that go up and down."""
    return Family("gauge", name, text, labels, [(key, (count,)) for key, count in sorted(counts.items())])


def summary(name: str, text: str, labels: Labels, totals: Mapping[Labels, Total]) -> Family:
    """Return how many there were and their sums."""
    return Family("summary", name, text, labels, [(key, (total.count, total.sum)) for key, total in totals.items()])


def histogram(name: str, text: str, labels: Labels, buckets: Mapping[Labels, Buckets]) -> Family:
    """Return how many there were up to which size."""
    return Family("histogram", name, text, labels, [(key, each.read()) for key, each in buckets.items()])


class Total:
    """How many there were, and their sum."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0

    def add(self, amount: float) -> None:
        """Count one."""
        self.count += 1
        self.sum += amount


class Buckets:
    """How many there were of which size, and their sum.

    Args:
        bounds: The upper bounds of the buckets, in order.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # each on its own; the last is beyond all bounds
        self.sum = 0.0

    def add(self, amount: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, amount)] += 1
        self.sum += amount

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """Return how many there were up to each bound, and the sum."""
        below = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            below += count
            found.append((bound, below))
        return found, self.sum
