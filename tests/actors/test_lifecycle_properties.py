"""The life cycle under arbitrary interleavings of calls, outcomes, ledger failures, crashes and time."""

from __future__ import annotations

from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flytower.actors.failures import FailureKind
from flytower.connectors.policy import Recovery
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from tests.actors.lifecycle_world import Actor, World

EFFECTS = st.sampled_from(["now", "never", "late"])
"""What a call that was given up, or cut off, does in the external system."""

INDEX = st.integers(0, 7)
PATIENCE = st.sampled_from([float("inf"), 8.0])
PAUSES = st.sampled_from([0.5, 3.0, 10.0, 90.0])


class Lives(RuleBasedStateMachine):
    """Some tasks, and all that can happen to them."""

    recovery: ClassVar[Recovery]

    @initialize(delete_after_finish=st.booleans())
    def begin(self, delete_after_finish: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        self.world = World(self.recovery, delete_after_finish=delete_after_finish)

    # ---- clients

    @rule(attempt=st.integers(0, 1), fingerprint=st.sampled_from(["f", "f", "g"]), patience=PATIENCE)
    def create(self, attempt: int, fingerprint: str, patience: float) -> None:
        self.world.create(attempt, fingerprint, patience)

    @precondition(lambda self: self.world.names)
    @rule(index=INDEX)
    def read(self, index: int) -> None:
        self.world.read(self._meta(index))

    @precondition(lambda self: self.world.names)
    @rule(index=INDEX)
    def delete(self, index: int) -> None:
        self.world.delete(self._meta(index))

    @rule(wanted=st.booleans())
    def ask_for_a_job_of_another_server(self, wanted: bool) -> None:  # noqa: FBT001 - as above
        meta = self.world.external.foreign()
        (self.world.read if wanted else self.world.delete)(meta)

    # ---- the external system

    @precondition(lambda self: self.world.calls())
    @rule(index=INDEX, changed=st.sampled_from(["", "", "news"]))
    def call_succeeds(self, index: int, changed: str) -> None:
        self.world.succeed(self._call(index), changed)

    @precondition(lambda self: self.world.calls())
    @rule(
        index=INDEX,
        kind=st.sampled_from([FailureKind.TRANSIENT, FailureKind.LATER, FailureKind.PERMANENT, FailureKind.OVERLOAD]),
        after=st.sampled_from([0.0, 15.0]),
    )
    def call_fails(self, index: int, kind: FailureKind, after: float) -> None:
        self.world.fail(self._call(index), kind, after)

    @precondition(lambda self: self.world.calls())
    @rule(index=INDEX, effect=EFFECTS)
    def call_is_never_answered(self, index: int, effect: str) -> None:
        self.world.lose(self._call(index), effect)

    @precondition(lambda self: self._fresh())
    @rule(index=INDEX)
    def fresh_job_is_not_listed_yet(self, index: int) -> None:
        fresh = self._fresh()
        self.world.fail(fresh[index % len(fresh)], FailureKind.GONE)

    @precondition(lambda self: self.world.external.jobs)
    @rule(index=INDEX, end=st.sampled_from([None, Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED]))
    def job_ends(self, index: int, end: Phase | None) -> None:
        jobs = list(self.world.external.jobs.values())
        job = jobs[index % len(jobs)]
        if job.alive:
            job.alive, job.end = False, end

    # ---- the server

    @rule(failing=st.sampled_from([False, False, True]))
    def ledger_commits(self, failing: bool) -> None:  # noqa: FBT001 - as above
        self.world.flush(failing=failing)

    @precondition(lambda self: self.world.actors)
    @rule(index=INDEX, effect=EFFECTS)
    def actor_crashes(self, index: int, effect: str) -> None:
        actors = list(self.world.actors.values())
        self.world.crash_actor(actors[index % len(actors)], effect)

    @rule(effect=EFFECTS)
    def server_crashes(self, effect: str) -> None:
        self.world.crash_server(effect)

    @rule(effect=EFFECTS)
    def server_is_restarted(self, effect: str) -> None:
        self.world.stop_server(effect)

    @rule(seconds=PAUSES)
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    # ---- what must hold

    @invariant()
    def consistent(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()

    # ---- who

    def _meta(self, index: int) -> bytes:
        names = list(self.world.names)
        return names[index % len(names)]

    def _call(self, index: int) -> Actor:
        calls = self.world.calls()
        return calls[index % len(calls)]

    def _fresh(self) -> list[Actor]:
        grace = self.world.policy.not_found_grace
        return [
            actor for actor in self.world.calls() if actor.call == "get" and self.world.now - actor.task.live_at < grace
        ]


class LivesWithToken(Lives):
    recovery = Recovery.TOKEN


class LivesWithFind(Lives):
    recovery = Recovery.FIND


class LivesWithNeither(Lives):
    recovery = Recovery.NEITHER


EXAMPLES = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

TestTasksWithAToken = LivesWithToken.TestCase
TestTasksWithAToken.settings = EXAMPLES
TestTasksThatCanBeFound = LivesWithFind.TestCase
TestTasksThatCanBeFound.settings = EXAMPLES
TestTasksOfWhichNothingCanBeKnown = LivesWithNeither.TestCase
TestTasksOfWhichNothingCanBeKnown.settings = EXAMPLES
