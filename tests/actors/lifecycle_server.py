"""A server for the life cycle alone: it holds actors, performs the effects of their transitions, and crashes.

The ledger's service writes to a store that can fail, when it is told to. That nothing is answered or published which
must not be is checked as it happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from flytower.actors.births import restart, resume, row_of
from flytower.actors.events import (
    Draining,
    Event,
    Forget,
    Hibernate,
    Invoke,
    Name,
    Publish,
    Record,
    Recorded,
    RecordFailed,
)
from flytower.actors.identity import decode_reference_untrusted
from flytower.actors.ledger.service import Ledger
from flytower.actors.lifecycle import step
from flytower.actors.task import TERMINAL, Stage, Task
from flytower.protocol.generated.flyteidl.admin import Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.entity import CancelCall, End, Refuse, Reply, Sleep, Wake
from flytower.runtime.promise import Promise
from tests.actors.lifecycle_fakes import LATEST_EFFECT, TICK, ExternalSystem, SlowStore
from tests.actors.lifecycle_invariants import LEGAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flytower.actors.ledger.row import Row
    from flytower.actors.ledger.store import LedgerError
    from flytower.connectors.policy import Policy


@dataclass
class Actor:
    """What a host and a directory hold for one task."""

    task: Task
    timer: float | None = None
    call: str | None = None
    asleep: bool = False
    read: bool = False
    read_at: float = 0.0
    read_gap: float = 0.0
    since: float = 0.0  # when it became live here, or began
    not_before: tuple[str, float] = ("", 0.0)  # which operation the external system wants to be spared of, until when
    promises: list[Promise[Any]] = field(default_factory=list)


class Server:
    """The actors of some tasks, and what they stand on.

    Args:
        policy: What the connector's author declared.
        external: Where their jobs are.
    """

    def __init__(self, policy: Policy, external: ExternalSystem) -> None:
        self.policy = policy
        self.external = external
        self.now = 1000.0
        self.late: list[tuple[float, Callable[[], object]]] = []  # effects of calls that were given up
        self.store = SlowStore()
        self.ledger = Ledger(self.store)
        self.actors: dict[str, Actor] = {}
        self.names: dict[bytes, str] = {}
        self.given: dict[str, bytes] = {}  # what CreateTask answered, by task id
        self.published: dict[str, tuple[Phase, bytes]] = {}
        self.history: dict[str, list[Phase]] = {}
        self.confirmed: set[str] = set()  # tasks whose DeleteTask was answered with OK
        self.superseded: set[str] = set()  # tasks that are to be deleted since nobody has read them
        self.unknown: set[str] = set()  # tasks that were ever given up as UNKNOWN
        self.forgotten: set[str] = set()  # tasks that an operator made forget, and whose key may begin anew
        self.waiting: list[Promise[Any]] = []  # all that clients asked
        self._deferred: list[tuple[str, Event]] = []  # what came up while effects were performed
        self._performing = False

    # ---- the ledger, crashes ----------------------------------------------------------------------------------

    def flush(self, *, failing: bool = False, rows: int = 1000) -> None:
        """Have the ledger commit what has come in, or the first of it."""
        self.store.failing = failing
        ledger = self.ledger
        ledger._take(rows)
        if ledger._writing:
            ledger._done(ledger._write(ledger._writing), 0.0)
        self.store.failing = False

    def in_ledger(self, task: str) -> bool:
        """Whether a row of a task waits to be written."""
        entries = [*self.ledger._queue, *self.ledger._writing, *self.ledger._again]
        return any(not isinstance(entry.row, str) and entry.row.id == task for entry in entries)

    def crash_actor(self, actor: Actor, effect: str) -> None:
        """Have one actor make a mistake, and begin again from its record."""
        self._end(actor, effect)
        self._start(restart(actor.task, self.now), actor)

    def crash_server(self, effect: str) -> None:
        """Lose everything but the store; calls under way have their effect, or not."""
        for actor in list(self.actors.values()):
            self._end(actor, effect)
        self.ledger = Ledger(self.store)
        self.names.clear()
        for task in [*self.given, *self.superseded, *self.published]:
            self._only_what_was_written(task, self.store.get(task))
        for row in self.store.rows():
            self._start(resume(row, self.policy, self.now))

    def stop_server(self, effect: str) -> None:
        """Shut the server down in order, and start it again: it drains, and the ledger writes what it has."""
        for actor in list(self.actors.values()):
            self.tell(actor, Draining())
        self.flush()
        self.crash_server(effect)

    # ---- one thing at a time ----------------------------------------------------------------------------------

    def tell(self, actor: Actor, event: Event) -> None:
        if self._performing:
            self._deferred.append((actor.task.id, event))
            return
        before = actor.task
        actor.task, effects = step(actor.task, event, self.now)
        assert actor.task.stage in LEGAL[before.stage], f"{before.stage} -> {actor.task.stage} by {event}"
        if actor.task.stage is not before.stage:
            actor.since = self.now
        self._perform(actor, effects)
        self._work_off()

    def _work_off(self) -> None:
        """Do what came up meanwhile, as a host does: one thing at a time, in order."""
        while self._deferred and not self._performing:
            task, event = self._deferred.pop(0)
            if task in self.actors:
                self.tell(self.actors[task], event)

    def _ask(self, actor: Actor, make_event: Callable[[Promise[Any]], Event]) -> Promise[Any]:
        promise: Promise[Any] = Promise()
        self.waiting.append(promise)
        if self.actors.get(actor.task.id) is not actor:  # the host says so
            promise.reject(ConnectionError("the actor is over"))
            return promise
        actor.promises.append(promise)
        self.tell(actor, make_event(promise))
        return promise

    def _start(self, begun: tuple[Task, list[object]], earlier: Actor | None = None) -> Actor:
        actor = Actor(begun[0], asleep=begun[0].unread, read_at=self.now, since=self.now)
        if earlier is not None:
            actor.read, actor.read_at, actor.read_gap = earlier.read, earlier.read_at, earlier.read_gap
        assert actor.task.id not in self.actors
        self.actors[actor.task.id] = actor
        self._perform(actor, begun[1])
        self._work_off()
        return actor

    def _end(self, actor: Actor, effect: str) -> None:
        self._effect(actor, effect)
        del self.actors[actor.task.id]
        actor.call = actor.timer = None
        for promise in actor.promises:  # the host rejects what an actor still owes
            promise.reject(ConnectionError("the actor is over"))

    # ---- actors begin and end ---------------------------------------------------------------------------------

    def _effect(self, actor: Actor, effect: str) -> None:
        deeds: dict[str, Callable[[], object]] = {
            "create": partial(self.external.create, actor.task.id),
            "delete": partial(self.external.delete, actor.task.meta or b""),
        }
        deed = deeds.get(actor.call or "")
        if deed is not None and effect == "now":
            deed()
        elif deed is not None and effect == "late":
            self.late.append((self.now + LATEST_EFFECT, deed))

    def _only_what_was_written(self, task: str, row: Row | None) -> None:
        """Expect after a crash what the ledger knows, and no more.

        Three things do not wait for it: a provisional answer, a published phase, a wish that nobody has asked for.
        """
        if row is None or row.name != self.given.get(task):
            self.given.pop(task, None)
        if row is None or not row.wish:
            self.superseded.discard(task)
        if row is None or row.phase not in TERMINAL:
            self.published.pop(task, None)

    def _bury(self, task: str) -> None:
        self.names = {name: owner for name, owner in self.names.items() if owner != task}
        for facts in (self.published, self.given):
            facts.pop(task, None)
        self.superseded.discard(task)

    def _named(self, meta: bytes) -> Actor | None:
        return self.actors.get(self.names.get(meta) or decode_reference_untrusted(meta) or "")

    # ---- effects ----------------------------------------------------------------------------------------------

    def _perform(self, actor: Actor, effects: Sequence[object]) -> None:
        self._performing = True
        try:
            self._perform_each(actor, effects)
        finally:
            self._performing = False

    def _perform_each(self, actor: Actor, effects: Sequence[object]) -> None:  # noqa: C901, PLR0912 - one case for each
        task = actor.task
        for effect in effects:
            match effect:
                case Invoke(operation):
                    assert actor.call is None, f"{operation} while {actor.call} is under way"
                    assert actor.not_before[0] != operation or self.now >= actor.not_before[1], "asked too soon"
                    actor.call = operation
                case CancelCall():
                    if actor.call == "get":
                        actor.call = None
                case Wake(delay, spread):
                    assert delay >= 0.0
                    actor.timer = self.now + max(delay + spread / 2, TICK)
                case Sleep():
                    actor.timer = None
                case Hibernate():
                    actor.asleep = True
                case Record(note):
                    self.ledger.record(row_of(task, note=note), partial(self._recorded, task.id, task.seq))
                case Forget():
                    self.ledger.forget(task.id)
                case Name(meta):
                    self.names[meta] = task.id
                case Publish(phase, resource):
                    self._publish(task.id, phase, resource)
                case Reply(promise, bytes(value)):
                    self._check_reply(task, value)
                    assert promise.resolve(value), "a promise was answered twice"
                case Refuse(promise, error):
                    assert promise.reject(error), "a promise was answered twice"
                case End():
                    actor.task = task
                    self._end(actor, "never")
                    self._bury(task.id)
                case _:
                    raise AssertionError(f"nobody performs {effect!r}")
        if task.stage is Stage.UNKNOWN:
            self.unknown.add(task.id)

    def _recorded(self, task: str, seq: int, error: LedgerError | None) -> None:
        actor = self.actors.get(task)
        if actor is not None:
            self.tell(actor, Recorded(seq) if error is None else RecordFailed(seq, str(error)))

    # ---- what must hold ---------------------------------------------------------------------------------------

    def _publish(self, task: str, phase: Phase, resource: bytes) -> None:
        assert phase is not Phase.UNDEFINED
        assert Resource.parse(resource).phase is phase, "what is published says another phase than it is published as"
        last = self.published.get(task)
        if last is not None and last[0] in TERMINAL:
            assert (phase, resource) == last, "something was published after the end"
        self.published[task] = (phase, resource)
        self.history.setdefault(task, []).append(phase)

    def _check_reply(self, task: Task, value: bytes) -> None:
        row = self.store.get(task.id)
        if value == b"":
            assert row is not None, "a DeleteTask was confirmed that no ledger knows"
            assert row.wish, "a DeleteTask was confirmed before its wish was durable"
            self.confirmed.add(task.id)
        elif value == task.name and task.stage is not Stage.DELETED:
            if decode_reference_untrusted(value) is None:
                assert row is not None
                assert row.name == value, "a CreateTask was answered before its result was durable"
            assert self.given.setdefault(task.id, value) == value, "two CreateTasks of one task got different answers"
