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
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric


OTHER = "other"
"""The label of an operation or an outcome outside of the sets below."""

CALLS = frozenset({"create", "find", "get", "delete", "do", "metrics", "logs", "get_many", "watch"})
"""What is asked of a connector."""

OUTCOMES = frozenset({"ok", "error", "timeout", "cancelled", "refused"})
"""How a call of a connector ends; "refused" is one that a limit or an open circuit kept from being made."""


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
        label: Returns the label of a task type: one of a closed set, whatever the type.
    """

    def __init__(self, bounds: Sequence[float], label: Callable[[str], str]) -> None:
        self._bounds = bounds
        self._label = label
        self._tallies: dict[tuple[str, str], _Tally] = {}  # by task type and operation

    def finished(self, task_type: str, operation: str, outcome: str, seconds: float) -> None:
        """Count a call.

        Args:
            task_type: The type of the task it was made for.
            operation: One of `CALLS`; a poll is a "get".
            outcome: One of `OUTCOMES`.
            seconds: How long the call ran, without the time it waited for a worker.
        """
        tally = self._tallies.get((task_type, operation)) or self._tally(task_type, operation)
        if outcome not in OUTCOMES:
            outcome = OTHER
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

    def _tally(self, task_type: str, operation: str) -> _Tally:
        labels = self._label(task_type), operation if operation in CALLS else OTHER
        return self._tallies.setdefault(labels, _Tally(len(self._bounds)))

    def _cumulative(self, tally: _Tally) -> list[tuple[str, float]]:
        below = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], tally.buckets, strict=True):
            below += count
            found.append((bound, below))
        return found
