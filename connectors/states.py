"""From the state names of external systems to Flyte's phases."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flytower.connectors.resource import TaskExecution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase

UNKNOWN_LIMIT = 100
"""How many unknown names a map counts by name. A system that puts job ids into its states must not fill the memory."""

OTHERS = "(others)"


class StateMap:
    """The states of an external system and the phases that they mean.

    A state that is not in the map keeps the job RUNNING and is counted, never raised: a system that learns a new
    word must not fail jobs that are fine. Names are compared without regard to case.

    Args:
        phases: State name -> phase.

    Raises:
        ValueError: Two names differ in case only and mean different phases, or a phase is UNDEFINED.
    """

    def __init__(self, phases: Mapping[str, TaskExecutionPhase]) -> None:
        self._phases: dict[str, TaskExecutionPhase] = {}
        self.unknown: Counter[str] = Counter()  # how often each unknown name was seen
        for name, phase in phases.items():
            self._add(name, phase)

    def _add(self, name: str, phase: TaskExecutionPhase) -> None:
        if phase is TaskExecution.UNDEFINED:
            raise ValueError(f"state {name!r} must not mean UNDEFINED, which Flyte takes for a failure")
        if self._phases.setdefault(name.casefold(), phase) is not phase:
            raise ValueError(f"state {name!r} is there twice, with different phases")

    def __call__(self, state: str) -> TaskExecutionPhase:
        """Return the phase that a state means; RUNNING for a state that nobody has heard of."""
        phase = self._phases.get(state.casefold())
        if phase is None:
            counted = state if state in self.unknown or len(self.unknown) < UNKNOWN_LIMIT else OTHERS
            self.unknown[counted] += 1
            return TaskExecution.RUNNING
        return phase

    def __repr__(self) -> str:
        return f"<StateMap of {len(self._phases)} states, {sum(self.unknown.values())} unknown seen>"


COMMON_STATES = StateMap(
    {
        **dict.fromkeys(("pending", "starting", "initializing", "resuming_warehouse"), TaskExecution.INITIALIZING),
        **dict.fromkeys(("queued", "submitted", "accepted", "scheduled"), TaskExecution.QUEUED),
        **dict.fromkeys(("blocked", "waiting_for_retry", "suspended"), TaskExecution.WAITING_FOR_RESOURCES),
        **dict.fromkeys(
            ("running", "terminating", "completing", "aborting", "cancelling", "canceling"), TaskExecution.RUNNING
        ),
        **dict.fromkeys(("done", "succeeded", "success", "completed", "finished"), TaskExecution.SUCCEEDED),
        **dict.fromkeys(
            (
                *("failed", "error", "failed_with_error", "timeout", "timedout", "timed_out", "out_of_memory"),
                *("canceled", "cancelled", "skipped", "aborted"),
            ),
            TaskExecution.FAILED,
        ),
        **dict.fromkeys(("internal_error", "node_fail", "preempted", "boot_fail"), TaskExecution.RETRYABLE_FAILED),
    }
)
"""What the usual words mean, as far as systems agree: flytekit's table, and the words that it refuses."""


def convert_to_flyte_phase(state: str) -> TaskExecutionPhase:
    """Return the phase for a state by its usual meaning; an unknown one is RUNNING, and counted in COMMON_STATES."""
    return COMMON_STATES(state)
