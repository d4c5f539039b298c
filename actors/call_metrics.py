"""How the calls of connectors are counted: plain numbers, which become metrics when they are scraped.

There are ten thousand polls a second. A counter and a histogram of prometheus_client take 3 us for each, and locks that
nobody here needs: calls are counted on the event loop, and scraped there.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.metrics_core import Metric


class _Tally:
    """The calls of one operation for one type of task."""

    __slots__ = ("buckets", "outcomes", "seconds")

    def __init__(self, bounds: int) -> None:
        self.outcomes: dict[str, int] = {}
        self.buckets = [0] * (bounds + 1)  # each on its own; the last is beyond all bounds
        self.seconds = 0.0


class CallMetrics(Collector):
    """Counts calls that are over.

    Args:
        bounds: The upper bounds of the histogram's buckets, in seconds and in order.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._tallies: dict[tuple[str, str], _Tally] = {}  # by task type and operation

    def knows(self, task_type: str, operation: str) -> bool:
        """Whether there has been a call with these labels."""
        return (task_type, operation) in self._tallies

    def finished(self, task_type: str, operation: str, outcome: str, seconds: float) -> None:
        """Count a call. All three words are labels: they have to come from closed sets."""
        tally = self._tallies.get((task_type, operation))
        if tally is None:
            tally = self._tallies[task_type, operation] = _Tally(len(self._bounds))
        tally.outcomes[outcome] = tally.outcomes.get(outcome, 0) + 1
        tally.buckets[bisect_left(self._bounds, seconds)] += 1
        tally.seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """Return the metrics."""
        ended = CounterMetricFamily(
            "flytower_external_calls",
            "Calls of connectors that are over, by how they ended",
            labels=["task_type", "operation", "outcome"],
        )
        took = HistogramMetricFamily(
            "flytower_external_call_seconds",
            "How long calls of connectors ran; a poll is a get",
            labels=["task_type", "operation"],
        )
        for labels, tally in self._tallies.items():
            for outcome, count in tally.outcomes.items():
                ended.add_metric([*labels, outcome], count)
            took.add_metric(labels, self._cumulative(tally), tally.seconds)
        yield ended
        yield took

    def describe(self) -> list[Metric]:
        """Say nothing in advance: nothing else is called so."""
        return []

    def _cumulative(self, tally: _Tally) -> list[tuple[str, float]]:
        below = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], tally.buckets, strict=True):
            below += count
            found.append((bound, below))
        return found
