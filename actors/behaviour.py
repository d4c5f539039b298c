"""The behaviour of task entities: the thin shell between the life cycle and everything around it.

Messages of the host become events of the life cycle, its abstract effects become calls of the connector, rows in the
ledger and entries in the directory. All decisions are in `lifecycle`.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from flytower.actors.births import restart, row_of
from flytower.actors.bulkhead import ROUNDING, CircuitBreaker, CircuitOpen, Respite, Spared, TokenBucket
from flytower.actors.events import (
    Answering,
    Created,
    CreateFailed,
    DeleteFailed,
    Draining,
    Due,
    Event,
    FindFailed,
    Forget,
    Gone,
    Hibernate,
    Invoke,
    Name,
    NotFound,
    Polled,
    PollFailed,
    Publish,
    Record,
    Recorded,
    RecordFailed,
)
from flytower.actors.failures import Failure, FailureKind, classify
from flytower.actors.lifecycle import step
from flytower.actors.secrets import secrets_of
from flytower.actors.task import Task
from flytower.runtime.entity import Behaviour, Call, Raised, Returned, Stopping, TimedOut, Woke

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from flytower.actors.directory import Directory, Entry
    from flytower.actors.ledger.service import Ledger
    from flytower.actors.ledger.store import LedgerError
    from flytower.actors.metrics import Metrics
    from flytower.connectors.bound import Bound
    from flytower.runtime.exits import Exit

POLL_LANE = "poll"
"""The lane of gets: a storm of polls delays only polls."""

CONTROL_LANE = "control"
"""The lane of creates, finds and deletes."""

BACK_AT_ONCE = 10
"""Tasks whose calls were refused and that are told of each answer, so that a system which has just come back hears from
a few at first, and soon from all."""

FAILED_BECAUSE: dict[Hashable, Callable[[Failure], Event]] = {
    "create": CreateFailed,
    "find": FindFailed,
    "get": PollFailed,
    "delete": DeleteFailed,
}
"""Operation -> the event that tells of its bad end."""


class TaskBehaviour(Behaviour[Task]):
    """What the tasks of one connector do.

    Args:
        connector: Whose tasks they are.
        tell: Sends an event to a task of the same host.
        state_of: Returns the record of a task of the same host.
        directory: Where tasks are found.
        ledger: Where tasks are written down.
        metrics: Where calls are counted.
        respite: The connector's, if it is to outlive this.
        wall: The time in Unix seconds, for what people read.
    """

    def __init__(
        self,
        connector: Bound,
        tell: Callable[[str, Event], object],
        state_of: Callable[[str], Task],
        directory: Directory,
        ledger: Ledger,
        metrics: Metrics,
        respite: Respite | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._connector = connector
        self._policy = connector.policy
        self._timeouts: dict[str, float] = {
            "create": connector.policy.create_timeout,
            "find": connector.policy.get_timeout,
            "get": connector.policy.get_timeout,
            "delete": connector.policy.delete_timeout,
        }
        self._tell = tell
        self._state_of = state_of
        self._directory = directory
        self._ledger = ledger
        self._metrics = metrics
        self._wall = wall
        self.clock: Callable[[], float] = trio.current_time  # the clock's own method, once its host runs: faster
        self.creating: set[str] = set()  # tasks whose create was begun and has not come back
        self._draining = False  # set by the first entity that hears of it, for all
        self.breaker = CircuitBreaker(connector.policy.breaker_failures, connector.policy.breaker_seconds)
        self._respite = respite or Respite()
        self._refused: set[str] = set()  # tasks that the open circuit has kept from calling
        self._bucket = TokenBucket(connector.policy.requests_per_second)

    def transition(self, state: Task, message: object, now: float) -> tuple[Task, Sequence[object]]:
        """Decide, by the life cycle's table."""
        entry = self._directory[state.id]
        task, effects = step(state, self._event(entry, message, now), now)
        if task.stage is state.stage:
            entry.state = task
        else:
            self._directory.update(task)
        return task, self._prepared(task, effects, now)

    def begun(self, begun: tuple[Task, Sequence[object]], now: float) -> tuple[Task, Sequence[object]]:
        """Prepare a birth (see `births`) for the host: enter the directory, and turn invocations into calls."""
        task, effects = begun
        if not task.created_at:
            task = task._replace(created_at=self._wall())
        self._directory.enter(task)
        return task, self._prepared(task, effects, now)

    def perform(self, key: Hashable, state: Task, effect: object) -> None:
        """Perform what the host leaves to it."""
        match effect:
            case Publish(phase, resource):
                self._directory.publish(state.id, phase, resource)
            case Record(note):
                row = row_of(state, self._wall(), note)
                self._ledger.record(row, partial(self._recorded, state.id, state.seq))
            case Name(meta):
                self._directory.name(state.id, meta)
            case Hibernate():
                self._directory[state.id].asleep = True
            case Forget():
                self._ledger.forget(state.id)
            case _:
                super().perform(key, state, effect)

    def restore(self, key: Hashable) -> tuple[Task, Sequence[object]] | None:
        """Begin again from what is durable of its record, after a mistake of this program."""
        now = trio.current_time()
        return self.begun(restart(self._state_of(str(key)), now), now)

    def ended(self, key: Hashable, state: Task, exit: Exit) -> None:  # noqa: A002 - the host's signature
        """Take the task out of the directory.

        One that crashed and is in the ledger stays there: its actor comes back (with its host, or by the janitor).
        Until then its answer stands, and neither its key nor its job may be given to another actor.
        """
        self.creating.discard(str(key))
        if not exit.crashed or not state.durable:
            self._directory.leave(str(key))

    def describe(self, state: Task) -> str:
        """Say where the task is in its life."""
        return state.stage.value

    def _recorded(self, task_id: str, seq: int, error: LedgerError | None) -> None:
        self._tell(task_id, Recorded(seq) if error is None else RecordFailed(seq, str(error)))

    def _event(self, entry: Entry, message: Any, now: float) -> Event:
        kind = type(message)
        if kind is Woke:
            return Due(entry)
        if kind is Returned:
            self.breaker.succeeded()
            if self._refused:
                self._call_back()
            tag, value = message
            if tag != "get":
                return self._success(entry, tag, value)
            phase, resource = value
            return Polled(phase, resource, entry)
        if kind is Raised or kind is TimedOut:
            self._came_back(entry.task, message.tag)
            request = entry.state.request
            secrets = secrets_of(request.template) if request is not None else ()
            return self._failure(entry.task, message.tag, classify(message, secrets), now)
        if kind is Stopping:
            self._draining = True
            return Draining()
        event: Event = message
        return event

    def _came_back(self, task: str, tag: Hashable) -> None:
        if tag == "create":
            self.creating.discard(task)

    def _call_back(self) -> None:
        """Tell some of those that were refused that the external system answers."""
        for _ in range(min(BACK_AT_ONCE, len(self._refused))):
            self._tell(self._refused.pop(), Answering())

    def _success(self, entry: Entry, tag: Hashable, value: Any) -> Event:
        self._came_back(entry.task, tag)
        if tag == "delete":
            return Gone()
        if value is None:
            return NotFound()
        return Created(value, self._directory.free(entry.task, entry.category, value))

    def _failure(self, task: str, tag: Hashable, failure: Failure, now: float) -> Event:
        match failure.kind:
            case FailureKind.TRANSIENT | FailureKind.TIMEOUT:
                self.breaker.failed(now)
            case FailureKind.LATER:
                self._respite.asked(now, failure.after)
            case FailureKind.REFUSED:
                self._refused.add(task)
            case FailureKind.SPARED | FailureKind.OVERLOAD:
                pass
            case _:
                self.breaker.succeeded()
        if tag == "delete" and failure.kind is FailureKind.GONE:
            return Gone()
        return FAILED_BECAUSE[tag](failure)

    def _prepared(self, task: Task, effects: Sequence[object], now: float) -> Sequence[object]:
        """Turn invocations into calls. A server that stops begins none: what is wanted is in the ledger."""
        if self._draining:
            return [effect for effect in effects if type(effect) is not Invoke]
        for place, effect in enumerate(effects):
            if type(effect) is Invoke:  # there is one at most
                return [*effects[:place], self._call(task, effect, now), *effects[place + 1 :]]
        return effects

    def _call(self, task: Task, invoke: Invoke, now: float) -> Call:
        """Turn an invocation into a call of the connector, behind its rate limit and its circuit breaker."""
        operation = invoke.operation
        if operation == "create":
            self.creating.add(task.id)
        wait = self._bucket.reserve(now)
        lane = POLL_LANE if operation == "get" else CONTROL_LANE
        run = partial(self._run, operation, task, now + wait if wait else 0.0)
        return Call(lane, operation, run, wait + self._timeouts[operation])

    async def _run(self, operation: str, task: Task, not_before: float) -> object:
        if not_before:
            await trio.sleep_until(not_before)
        started = self.clock()
        if started < self._respite.until or not self.breaker.is_closed:
            self._must_be_welcome(operation, task, started)
        outcome = "error"
        try:
            if operation == "get":  # nearly all calls: without a coroutine in between
                result: object = await self._connector.status(task.meta or b"")
            else:
                result = await self._ask(operation, task)
            outcome = "ok"
        except trio.Cancelled:
            late = self.clock() - started >= self._timeouts[operation] - ROUNDING
            outcome = "timeout" if late else "cancelled"
            raise
        finally:
            self._metrics.call_finished(task.category.name, operation, outcome, self.clock() - started)
        return result

    def _must_be_welcome(self, operation: str, task: Task, now: float) -> None:
        """Leave the external system alone when it does not answer, or has asked for that.

        Raises:
            Spared: It has asked for that.
            CircuitOpen: It does not answer. Creates are let through: who asks for one is waiting.
        """
        name = self._connector.name
        refusal: Exception | None = None
        if left := self._respite.left(now):
            refusal = Spared(f"{name} asks to be left alone; asked again in {left:.0f} s", after=left)
        elif operation != "create" and (left := self.breaker.refused_for(now)):
            refusal = CircuitOpen(f"{name} does not answer; asked again in {left:.0f} s", after=left)
        if refusal is not None:
            self._metrics.call_finished(task.category.name, operation, "refused", 0.0)
            raise refusal

    async def _ask(self, operation: str, task: Task) -> object:
        connector = self._connector
        if operation == "create":
            asked = task.request
            return await connector.create(
                asked.template, asked.output_prefix, asked.inputs, asked.task_execution_metadata, task.id
            )
        if operation == "find":
            return await connector.find(task.id)
        await connector.delete(task.meta or b"")
        return None
