"""The record of one task: everything that its actor knows."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase

if TYPE_CHECKING:
    from flytower.connectors.category import TaskCategory
    from flytower.connectors.policy import Policy
    from flytower.runtime.promise import Promise

TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED, Phase.ABORTED})
"""The phases after which an external job changes no more."""


class Stage(Enum):
    """Where a task is in its life."""

    RESERVED = "reserved"  # the intent is on its way into the ledger; the connector knows nothing yet
    CREATING = "creating"  # the connector's create runs, or its result is on its way into the ledger
    LIVE = "live"  # the external job is there, and is polled
    FINISHED = "finished"  # the external job has reached a terminal phase
    DELETING = "deleting"  # somebody wants it gone, and it is not known to be gone
    DELETED = "deleted"  # the external job is gone, or never was
    UNKNOWN = "unknown"  # a create broke off, and nobody can say whether the job exists

    __hash__ = object.__hash__  # members are singletons; Enum's own is no C, and each transition looks one up


class Waiter(NamedTuple):
    """A CreateTask that waits for its resource_meta, until `answer_by` (trio's clock; infinity without a deadline)."""

    promise: Promise[Any]
    answer_by: float


class Task(NamedTuple):
    """One task. Replaced, never changed, by the transitions in `lifecycle`.

    Args:
        id: Its id and idempotency key.
        category: Its task category.
        policy: What its connector's author declared.
        stage: Where it is in its life.
        key: What identifies it across retries of its CreateTask; "" for an adopted or anonymous task.
        generation: Which task under that key this is, from 1.
        place: What the attempts of one Flyte task have in common; "" when unknown.
        attempt: Which attempt at that place this is.
        fingerprint: What a retried CreateTask must agree in; "" when unknown.
        request: What create needs, until it has returned.
        withheld: Whether the request carries secrets, and therefore never goes into the ledger.
        unread: Whether it is certain that nobody has ever read it; of an adopted task it never is.
        created_at: When it was begun, in Unix seconds: for people, never for an order.
        seq: How many changes were sent to the ledger.
        durable: Up to which of these the ledger has confirmed.
        meta: The connector's resource_meta; None until create has returned.
        name: The resource_meta that CreateTask answered, and answers again; b"" before.
        phase: The phase last published.
        resource: The encoded Resource last given by the connector; b"" before the first.
        live_at: When it became LIVE.
        failing_since: When the first of its `failures` failed.
        attempts: How often create was called; when CREATING, 0 while the external system is to be left alone.
        retry_at: When what failed is to be tried again; 0 when nothing waits for that.
        wish: Whether somebody wants it deleted.
        verdict: The encoded Resource to answer once a delete was tried; b"" when there is none.
        waiters: CreateTasks without an answer.
        readers: GetTasks without an answer.
        deleters: DeleteTasks without an answer.
        interval: Seconds between polls, as the backoff has it now; 0 while it hibernates.
        polled_at: When the last poll started.
        answered_at: When the external system last answered.
        failures: Polls (when DELETING: deletes; when CREATING: looks for the job) in vain, in a row.
        trouble: What the last poll that was made and failed came to; "" when none has, since the last answer.
        calling: Whether a get or a delete of the connector is under way.
    """

    id: str
    category: TaskCategory
    policy: Policy
    stage: Stage
    key: str = ""
    generation: int = 1
    place: str = ""
    attempt: int = 0
    fingerprint: str = ""
    request: Any = None
    withheld: bool = False
    unread: bool = False
    created_at: float = 0.0
    seq: int = 0
    durable: int = 0
    meta: bytes | None = None
    name: bytes = b""
    phase: Phase = Phase.UNDEFINED
    resource: bytes = b""
    live_at: float = 0.0
    failing_since: float = 0.0
    attempts: int = 0
    retry_at: float = 0.0
    wish: bool = False
    verdict: bytes = b""
    waiters: tuple[Waiter, ...] = ()
    readers: tuple[Promise[Any], ...] = ()
    deleters: tuple[Promise[Any], ...] = ()
    interval: float = 0.0  # from here on: what each poll changes, and `polling` and `answered` copy one by one
    polled_at: float = 0.0
    answered_at: float = 0.0
    failures: int = 0
    trouble: str = ""
    calling: bool = False

    @property
    def freed(self) -> bool:
        """Whether its key is free for a new generation."""
        return self.wish or self.stage in (Stage.DELETING, Stage.DELETED)

    def polling(self, now: float) -> Task:
        """Return it with a get of the connector under way."""
        changed = (self.interval, now, self.answered_at, self.failures, self.trouble, True)
        return tuple.__new__(Task, self[:_FIRST_OF_POLLS] + changed)

    def answered(self, now: float, interval: float) -> Task:
        """Return it with an answer of the external system, and the interval to the next poll."""
        changed = (interval, self.polled_at, now, 0, "", False)
        return tuple.__new__(Task, self[:_FIRST_OF_POLLS] + changed)

    def __repr__(self) -> str:
        return f"<Task {self.id[:8]} {self.category} {self.stage.value} {self.phase.name} seq={self.seq}>"


_PLACES = {name: place for place, name in enumerate(Task._fields)}

_FIRST_OF_POLLS = _PLACES["interval"]


def _replaced(task: Task, /, **changes: Any) -> Task:
    """Return a task with some fields replaced: in a third of the time that `namedtuple` takes for so many fields."""
    values = list(task)
    for name, value in changes.items():
        values[_PLACES[name]] = value
    return tuple.__new__(Task, values)


Task._replace = _replaced  # type: ignore[assignment]  # a NamedTuple's body may not define it; there are 34 fields
