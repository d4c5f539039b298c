"""What can happen to a task, and what a task can ask for: the two alphabets of its life cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from flytower.actors.failures import Failure
    from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
    from flytower.runtime.promise import Promise

Operation: TypeAlias = Literal["create", "find", "get", "delete"]
"""What a task asks of its connector."""


# ---- events ---------------------------------------------------------------------------------------------------


class CreateAsked(NamedTuple):
    """A CreateTask for this task's key. `answer_by` is when a provisional answer is due, `request` what it asks for."""

    promise: Promise[Any]
    answer_by: float
    fingerprint: str
    request: Any = None


class ReadAsked(NamedTuple):
    """A GetTask that found no published answer, and waits for the first."""

    promise: Promise[Any]


class Wanted(NamedTuple):
    """Somebody read a task that was asleep, or that nobody had read before."""


class DeleteAsked(NamedTuple):
    """A DeleteTask; `promise` is answered once the wish is in the ledger. None: nobody waits for the answer."""

    promise: Promise[Any] | None = None


class Superseded(NamedTuple):
    """A later attempt of the same Flyte task was created."""


class ForgetAsked(NamedTuple):
    """An operator wants the task forgotten: the ledger, and nobody else, loses it."""


class Recorded(NamedTuple):
    """The ledger has all changes up to `seq`."""

    seq: int


class RecordFailed(NamedTuple):
    """The ledger could not take the change `seq`."""

    seq: int
    reason: str


class Demand(Protocol):
    """How a task is read, as of now: the directory's entry itself, which no poll has to copy."""

    @property
    def read_at(self) -> float:
        """When it was last read (trio's clock)."""

    @property
    def read_gap(self) -> float:
        """Seconds between the last two reads; 0 when there were fewer."""


class Due(NamedTuple):
    """The timer came due."""

    demand: Demand


class Created(NamedTuple):
    """The connector's create (or find) returned this resource_meta; `unique` if no other task answers to it."""

    meta: bytes
    unique: bool = True


class NotFound(NamedTuple):
    """The connector's find looked, and the job is not there."""


class CreateFailed(NamedTuple):
    """The connector's create raised, or ran out of time."""

    failure: Failure


class FindFailed(NamedTuple):
    """The connector's find raised, or ran out of time: nothing is known."""

    failure: Failure


class Polled(NamedTuple):
    """The connector's get returned; `resource` is the encoded Resource."""

    phase: Phase
    resource: bytes
    demand: Demand


class PollFailed(NamedTuple):
    """The connector's get raised, or ran out of time."""

    failure: Failure


class Gone(NamedTuple):
    """The connector's delete returned, or says that there is no such job."""


class DeleteFailed(NamedTuple):
    """The connector's delete raised, or ran out of time."""

    failure: Failure


class Answering(NamedTuple):
    """The external system answers again, after calls for this task were refused."""


class Draining(NamedTuple):
    """The server stops: nothing new is begun, and nothing external is touched because of it."""


Event: TypeAlias = (
    CreateAsked
    | ReadAsked
    | Wanted
    | DeleteAsked
    | Superseded
    | ForgetAsked
    | Recorded
    | RecordFailed
    | Due
    | Created
    | NotFound
    | CreateFailed
    | FindFailed
    | Polled
    | PollFailed
    | Gone
    | DeleteFailed
    | Answering
    | Draining
)


# ---- effects (beside those of runtime.entity) -------------------------------------------------------------------


class Invoke(NamedTuple):
    """Call the connector."""

    operation: Operation


class Record(NamedTuple):
    """Write the task as it is now to the ledger, saying why; `Recorded` or `RecordFailed` follows."""

    note: str = ""


class Forget(NamedTuple):
    """Take the task out of the ledger."""


class Publish(NamedTuple):
    """Make `resource` (an encoded Resource) the answer of every GetTask from now on."""

    phase: Phase
    resource: bytes


class Name(NamedTuple):
    """Have the task answer to `meta`."""

    meta: bytes


class Hibernate(NamedTuple):
    """Nobody asks: say so where readers look, so that the next one sends `Wanted`."""
