"""Hypothesis plays caller, external system, fault and time against a running node; `World` judges."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import Phase as Step
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from tests.actors.live.world import KINDS, STORMS, World

picks = st.integers(0, 5)
storms = st.sampled_from(["fine"] * 4 + [storm for storm in STORMS if storm != "fine"])


class NodeMachine(RuleBasedStateMachine):
    """Arbitrary interleavings, and at their end a world in order.

    All connectors run, and one of them is played with: what they do to one another has tests of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.kind = ""

    @initialize(kind=st.sampled_from(KINDS), storm=storms, seconds=st.sampled_from([0.0, 0.0, 15.0]))
    def choose(self, kind: str, storm: str, seconds: float) -> None:
        self.kind = kind
        self.system = self.world.systems[kind]
        self.system.weather["create"] = STORMS[storm]()
        self.system.latency["create"] = seconds
        self.world.create(kind, 0, 0, 1, 10.0)

    # ---- callers ----------------------------------------------------------------------------------------------

    @rule(
        place=st.integers(0, 1),
        attempt=st.sampled_from([0, 0, 1]),
        size=st.sampled_from([1, 1, 1, 2]),
        deadline=st.sampled_from([10.0, None]),
    )
    def create(self, place: int, attempt: int, size: int, deadline: float | None) -> None:
        self.world.create(self.kind, place, attempt, size, deadline)

    @precondition(lambda self: self.world.metas[self.kind])
    @rule(pick=picks)
    def get(self, pick: int) -> None:
        metas = self.world.metas[self.kind]
        self.world.get(self.kind, metas[-1 - pick % len(metas)])

    @precondition(lambda self: self.world.metas[self.kind])
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        metas = self.world.metas[self.kind]
        self.world.delete(self.kind, metas[-1 - pick % len(metas)])

    @precondition(lambda self: any(not said.over for said in self.world.calls))
    @rule(pick=picks)
    def hang_up(self, pick: int) -> None:
        self.world.hang_up(pick)

    # ---- the external system ----------------------------------------------------------------------------------

    @rule(operation=st.sampled_from(["create", "get", "delete", "find"]), storm=storms)
    def weather(self, operation: str, storm: str) -> None:
        self.system.weather[operation] = STORMS[storm]()

    @rule(
        operation=st.sampled_from(["create", "create", "get", "delete"]), seconds=st.sampled_from([0.0, 0.0, 9.0, 15.0])
    )
    def latency(self, operation: str, seconds: float) -> None:
        self.system.latency[operation] = seconds
        self.system.lag = min(seconds, 10.0) if operation == "get" else self.system.lag

    @precondition(lambda self: self.system.living())
    @rule(pick=picks, phase=st.sampled_from([Phase.SUCCEEDED, Phase.FAILED, Phase.QUEUED]))
    def job_moves(self, pick: int, phase: Phase) -> None:
        jobs = self.system.living()
        job = jobs[pick % len(jobs)]
        if job.phase is Phase.RUNNING:
            self.system.end(job.name, phase)

    # ---- the node ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.calls)
    @rule(pick=picks, times=st.sampled_from([1, 4]))
    def actor_crashes(self, pick: int, times: int) -> None:
        self.world.disturb()
        self.world.crash_actor(self.kind, pick, times)

    @rule(idle=st.sampled_from([None, 0.0, 100.0]))
    def host_crashes_or_node_restarts(self, idle: float | None) -> None:
        self.world.disturb()
        if idle is None:
            self.world.crash_host(self.kind)
        else:
            self.world.close()
            self.world.advance(idle)
            self.world.open()
        self.world.disturb()

    @rule()
    def ledger_breaks_or_is_mended(self) -> None:
        self.world.store.failing = not self.world.store.failing
        self.world.ledger_failed = True

    # ---- time -------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([7.0, 0.1, 1.0, 30.0, 120.0, 1000.0, 7200.0]))
    def time_passes(self, seconds: float) -> None:
        broken = self.world.store.failing  # then each task tries the ledger again and again: costly, and no news
        self.world.advance(min(seconds, 60.0) if broken else seconds)

    @rule(seconds=st.sampled_from([0.3, 3.0, 30.0]))
    def a_little_time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    def teardown(self) -> None:
        try:
            self.world.conclude()
        finally:
            self.world.end()


class TestNode(NodeMachine.TestCase):  # type: ignore[misc, valid-type]  # hypothesis makes the class
    """Whatever happens: nothing lost, nothing doubled, nobody left waiting, nothing left running."""

    settings = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Step.explicit, Step.reuse, Step.generate, Step.shrink],  # explaining takes minutes
    )
