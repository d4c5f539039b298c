"""Hypothesis plays caller, external system, fault and time against a running node; `World` judges."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from tests.actors.live.world import KINDS, STORMS, World

kinds = st.sampled_from(KINDS)
picks = st.integers(0, 11)


class NodeMachine(RuleBasedStateMachine):
    """Arbitrary interleavings, and at their end a world in order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    # ---- callers ----------------------------------------------------------------------------------------------

    @rule(
        kind=kinds,
        place=st.integers(0, 1),
        attempt=st.integers(0, 2),
        size=st.sampled_from([1, 1, 1, 2]),
        deadline=st.sampled_from([10.0, None]),
    )
    def create(self, kind: str, place: int, attempt: int, size: int, deadline: float | None) -> None:
        self.world.create(kind, place, attempt, size, deadline)

    def metas(self, kind: str) -> list[bytes]:
        return self.world.metas[kind]

    @rule(kind=kinds, pick=picks)
    def get(self, kind: str, pick: int) -> None:
        if metas := self.metas(kind):
            self.world.get(kind, metas[-1 - pick % len(metas)])

    @rule(kind=kinds, pick=picks)
    def delete(self, kind: str, pick: int) -> None:
        if metas := self.metas(kind):
            self.world.delete(kind, metas[-1 - pick % len(metas)])

    @rule(pick=picks)
    def hang_up(self, pick: int) -> None:
        self.world.hang_up(pick)

    # ---- the external systems ---------------------------------------------------------------------------------

    @rule(
        kind=kinds, operation=st.sampled_from(["create", "get", "delete", "find"]), storm=st.sampled_from(list(STORMS))
    )
    def weather(self, kind: str, operation: str, storm: str) -> None:
        self.world.systems[kind].weather[operation] = STORMS[storm]()

    @rule(
        kind=kinds,
        operation=st.sampled_from(["create", "get", "delete"]),
        seconds=st.sampled_from([0.0, 0.3, 9.0, 15.0]),
    )
    def latency(self, kind: str, operation: str, seconds: float) -> None:
        self.world.systems[kind].latency[operation] = seconds

    @rule(kind=kinds, seconds=st.sampled_from([0.0, 10.0]))
    def lag(self, kind: str, seconds: float) -> None:
        self.world.systems[kind].lag = seconds

    @rule(kind=kinds, pick=picks, phase=st.sampled_from([Phase.SUCCEEDED, Phase.FAILED, Phase.QUEUED]))
    def job_moves(self, kind: str, pick: int, phase: Phase) -> None:
        jobs = [job for job in self.world.systems[kind].living() if job.phase is Phase.RUNNING]
        if jobs:
            self.world.systems[kind].end(jobs[pick % len(jobs)].name, phase)

    # ---- faults of the node -----------------------------------------------------------------------------------

    @rule(kind=kinds, pick=picks, times=st.sampled_from([1, 1, 4]))
    def actor_crashes(self, kind: str, pick: int, times: int) -> None:
        self.world.disturb()
        self.world.crash_actor(kind, pick, times)

    @rule(kind=kinds)
    def host_crashes(self, kind: str) -> None:
        self.world.disturb()
        self.world.crash_host(kind)

    @rule(failing=st.booleans())
    def ledger(self, *, failing: bool) -> None:
        self.world.store.failing = failing
        self.world.ledger_failed |= failing

    @rule(idle=st.sampled_from([0.0, 100.0]))
    def restart(self, idle: float) -> None:
        self.world.disturb()
        self.world.close()
        self.world.advance(idle)
        self.world.open()
        self.world.disturb()

    # ---- time -------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 30.0, 120.0, 1000.0, 7200.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    def teardown(self) -> None:
        try:
            self.world.conclude()
        finally:
            self.world.end()


class TestNode(NodeMachine.TestCase):  # type: ignore[misc]  # hypothesis makes the class
    """Whatever happens: nothing lost, nothing doubled, nobody left waiting, nothing left running."""

    settings = settings(max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
