"""One task and what is done to it: sends events through the table, and keeps what comes of them in readable form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from flytower.actors.births import row_of
from flytower.actors.events import (
    CreateAsked,
    CreateFailed,
    DeleteAsked,
    Due,
    Event,
    Forget,
    Hibernate,
    Invoke,
    Name,
    Polled,
    Publish,
    ReadAsked,
    Record,
)
from flytower.actors.failures import Failure, FailureKind
from flytower.actors.identity import encode_reference
from flytower.actors.lifecycle import step
from flytower.actors.task import Stage, Task
from flytower.connectors.category import TaskCategory
from flytower.connectors.policy import Policy, Recovery
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest, Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError, Status
from flytower.runtime.entity import CancelCall, End, Refuse, Reply, Sleep, Wake
from flytower.runtime.promise import Promise

if TYPE_CHECKING:
    from flytower.actors.events import Demand
    from flytower.actors.ledger.row import Row

E = TypeVar("E")

NOW = 1000.0


class Reads(NamedTuple):
    """A demand that stays as it is."""

    read_at: float
    read_gap: float = 0.0


CATEGORY = TaskCategory("spark", 0)
META = b'{"job":1}'
TASK = "0123456789abcdef" * 2
REFERENCE = encode_reference(TASK)
NOBODY_READS = Reads(NOW)
TOKEN, FIND, NEITHER = (Policy(recovery=recovery) for recovery in (Recovery.TOKEN, Recovery.FIND, Recovery.NEITHER))
DUE = Due(NOBODY_READS)


def resource(phase: Phase, message: str = "") -> bytes:
    return bytes(Resource(phase=phase, message=message))


RUNNING = resource(Phase.RUNNING, "busy")


def failure(kind: FailureKind = FailureKind.TRANSIENT, after: float = 0.0) -> Failure:
    return Failure(kind, "HTTP 503", after)


TIMEOUT = CreateFailed(failure(FailureKind.TIMEOUT))
RAISED = CreateFailed(failure(FailureKind.TRANSIENT))


def polled(phase: Phase = Phase.RUNNING, message: str = "busy", demand: Demand = NOBODY_READS) -> Polled:
    return Polled(phase, resource(phase, message), demand)


def a_task(stage: Stage, policy: Policy | None = None, **fields: Any) -> Task:
    """Return a task that is in a stage, as an ordinary life leads there; its last change is durable."""
    begun = {"id": TASK, "category": CATEGORY, "policy": policy or Policy(), "key": "k", "seq": 1, "durable": 1}
    owned = {"meta": META, "name": META, "seq": 2, "durable": 2}
    usual: dict[Stage, dict[str, Any]] = {
        Stage.RESERVED: {"request": CreateTaskRequest(output_prefix="s3://b/0"), "durable": 0},
        Stage.CREATING: {"request": CreateTaskRequest(output_prefix="s3://b/0"), "attempts": 1},
        Stage.LIVE: {**owned, "phase": Phase.RUNNING, "resource": RUNNING, "interval": 1.0, "live_at": 0.0},
        Stage.FINISHED: {**owned, "phase": Phase.SUCCEEDED, "resource": resource(Phase.SUCCEEDED)},
        Stage.DELETING: {**owned, "phase": Phase.RUNNING, "resource": RUNNING, "wish": True},
        Stage.DELETED: {**owned, "phase": Phase.ABORTED, "resource": resource(Phase.ABORTED), "wish": True},
        Stage.UNKNOWN: {"name": REFERENCE, "phase": Phase.FAILED, "resource": resource(Phase.FAILED)},
    }
    return Task(stage=stage, **{**begun, **usual[stage], **fields})


def creating(policy: Policy | None = None, **fields: object) -> Life:
    """Return the life of a task whose create runs."""
    return Life(a_task(Stage.CREATING, policy, **fields))


class Life:
    """A task in the hands of a host that does only what can be seen."""

    def __init__(self, task: Task, effects: list[object] | None = None) -> None:
        self.task = task
        self.now = NOW
        self.effects: list[object] = []
        self._perform(effects or [])

    def send(self, event: Event, after: float = 0.0) -> Life:
        """Send an event, `after` seconds later."""
        self.now += after
        self.task, effects = step(self.task, event, self.now)
        self._perform(effects)
        return self

    def create(self, answer_by: float = float("inf"), fingerprint: str = "", request: Any = None) -> Promise[Any]:
        promise: Promise[Any] = Promise()
        self.send(CreateAsked(promise, answer_by, fingerprint, request))
        return promise

    def read(self) -> Promise[Any]:
        promise: Promise[Any] = Promise()
        self.send(ReadAsked(promise))
        return promise

    def delete(self) -> Promise[Any]:
        promise: Promise[Any] = Promise()
        self.send(DeleteAsked(promise))
        return promise

    def _perform(self, effects: list[object]) -> None:
        self.effects = effects
        for effect in effects:
            if isinstance(effect, Reply):
                assert effect.promise.resolve(effect.value), "a promise was answered twice"
            elif isinstance(effect, Refuse):
                assert effect.promise.reject(effect.error), "a promise was answered twice"

    # ---- what the last event has led to -----------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        return self.task.stage

    @property
    def invoked(self) -> list[str]:
        return [effect.operation for effect in self._of(Invoke)]

    @property
    def published(self) -> list[tuple[Phase, str]]:
        for effect in self._of(Publish):
            assert Resource.parse(effect.resource).phase is effect.phase
        return [(effect.phase, Resource.parse(effect.resource).message) for effect in self._of(Publish)]

    @property
    def names(self) -> list[bytes]:
        return [effect.meta for effect in self._of(Name)]

    @property
    def recorded(self) -> Row | None:
        """The row that is on its way into the ledger."""
        return row_of(self.task) if self._of(Record) else None

    @property
    def timer(self) -> float | None:
        """The seconds until it is woken; None without a timer. Only to be asked when the event changed the timer."""
        changes = [effect for effect in self.effects if isinstance(effect, Wake | Sleep)]
        assert changes, "the timer was left alone"
        return changes[-1].delay if isinstance(changes[-1], Wake) else None

    @property
    def timer_left_alone(self) -> bool:
        return not any(isinstance(effect, Wake | Sleep) for effect in self.effects)

    @property
    def cancelled(self) -> list[object]:
        return [effect.tag for effect in self._of(CancelCall)]

    @property
    def hibernates(self) -> bool:
        return bool(self._of(Hibernate))

    @property
    def over(self) -> bool:
        """Whether the actor ends, and the ledger forgets it."""
        assert bool(self._of(End)) == bool(self._of(Forget)), "an actor ended that the ledger would bring back"
        return bool(self._of(End))

    def _of(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]


def status_of(promise: Promise[Any]) -> Status | None:
    """Return the status that a promise was refused with; None when it was answered well, or not yet."""
    if not promise.done:
        return None
    try:
        promise.result()
    except RpcError as error:
        return error.status
    return None
