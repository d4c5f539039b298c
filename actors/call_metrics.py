"""How the calls of connectors are counted: there are ten thousand polls a second."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from flytower.actors.families import Buckets, counter, histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flytower.actors.families import Family, Labels

OTHER = "other"
"""The label of an operation or an outcome outside of the sets below."""

CALLS = frozenset({"create", "find", "get", "delete", "do", "metrics", "logs", "get_many", "watch"})
"""What is asked of a connector."""

OUTCOMES = frozenset({"ok", "error", "timeout", "cancelled", "refused"})
"""How a call of a connector ends; "refused" is one that a limit or an open circuit kept from being made."""


class _Tally(Buckets):
    """The calls of one operation for one type of task: how long they took, and how they ended."""

    __slots__ = ("outcomes",)

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__(bounds)
        self.outcomes: dict[str, int] = {}


class CallMetrics:
    """Counts calls that are over.

    Args:
        bounds: The upper bounds of the histogram's buckets, in seconds and in order.
        label: Returns the label of a task type: one of a closed set, whatever the type.
    """

    def __init__(self, bounds: Sequence[float], label: Callable[[str], str]) -> None:
        self._bounds = bounds
        self._label = label
        self._tallies: dict[Labels, _Tally] = {}  # by task type and operation

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
        tally.counts[bisect_left(self._bounds, seconds)] += 1
        tally.sum += seconds

    def families(self) -> Iterator[Family]:
        """Yield what has been counted."""
        yield counter(
            "flytower_external_calls",
            "Calls of connectors that are over, by how they ended",
            ("task_type", "operation", "outcome"),
            {(*key, end): count for key, tally in self._tallies.items() for end, count in tally.outcomes.items()},
        )
        yield histogram(
            "flytower_external_call_seconds",
            "How long calls of connectors ran; a poll is a get",
            ("task_type", "operation"),
            self._tallies,
        )

    def _tally(self, task_type: str, operation: str) -> _Tally:
        labels = self._label(task_type), operation if operation in CALLS else OTHER
        return self._tallies.setdefault(labels, _Tally(self._bounds))
