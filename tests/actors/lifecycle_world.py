"""A world for the life cycle alone: it performs the effects of the pure transitions, one step at a time.

No event loop, no clock, no threads. The external system keeps an append-only record of what it did; the ledger's
service writes to a store that can fail, when it is told to; actors and the whole server crash, and begin again from
their rows. What must hold at every moment is checked after every step, by `Promises` and by `check`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from flytower.actors.births import adopt, adopt_to_delete, reserve, restart, resume, row_of
from flytower.actors.events import (
    Answering,
    CreateAsked,
    Created,
    CreateFailed,
    DeleteAsked,
    DeleteFailed,
    Demand,
    Draining,
    Due,
    Event,
    FindFailed,
    Forget,
    ForgetAsked,
    Gone,
    Hibernate,
    Invoke,
    Name,
    NotFound,
    Polled,
    PollFailed,
    Publish,
    ReadAsked,
    Record,
    Recorded,
    RecordFailed,
    Superseded,
    Wanted,
)
from flytower.actors.failures import Failure, FailureKind
from flytower.actors.identity import Identity, decode_reference_untrusted
from flytower.actors.ledger.service import Ledger
from flytower.actors.lifecycle import step
from flytower.actors.task import TERMINAL, Stage, Task
from flytower.connectors.policy import Policy, Recovery
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest, Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.entity import CancelCall, End, Refuse, Reply, Sleep, Wake
from flytower.runtime.promise import Promise
from tests.actors.lifecycle_fakes import CATEGORY, LATEST_EFFECT, TICK, ExternalSystem, SlowStore
from tests.actors.lifecycle_invariants import LEGAL, check, check_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flytower.actors.ledger.row import Row
    from flytower.actors.ledger.store import LedgerError

# ---- one server -----------------------------------------------------------------------------------------------


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


class World:
    """The life of some tasks.

    Args:
        recovery: What the connector's author declared.
        withheld: Whether requests carry secrets.
        policy: Anything else.
    """

    def __init__(self, recovery: Recovery, *, withheld: bool = False, **policy: Any) -> None:
        figures: dict[str, Any] = {
            "poll_maximum": 8.0,
            "idle_after": 20.0,
            "hibernate_after": 60.0,
            "not_found_grace": 5.0,
            "failure_age": 40.0,
            "delete_maximum": 8.0,
            "retention": 900.0,
        }
        self.policy = Policy(recovery=recovery, **{**figures, **policy})
        self.withheld = withheld
        self.now = 1000.0
        self.external = ExternalSystem(honours_tokens=recovery is Recovery.TOKEN)
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

    # ---- what clients do --------------------------------------------------------------------------------------

    def create(self, attempt: int = 0, fingerprint: str = "f", patience: float = float("inf")) -> Promise[Any]:
        key = f"k{attempt}"
        actor = self._current(key)
        request = CreateTaskRequest(output_prefix=f"s3://b/{attempt}")
        if actor is None:
            generation = 1 + max((a.task.generation for a in self.actors.values() if a.task.key == key), default=0)
            identity = Identity(key, "p", attempt)
            actor = self._start(
                reserve(CATEGORY, self.policy, identity, generation, fingerprint, request, withheld=self.withheld)
            )
            for other in list(self.actors.values()):
                if other.task.place == "p" and other.task.attempt < attempt:
                    self._supersede(other)
        return self._ask(actor, lambda promise: CreateAsked(promise, self.now + patience, fingerprint, request))

    def _supersede(self, actor: Actor) -> None:
        task, row = actor.task, self.store.get(actor.task.id)
        if task.unread and not task.freed and task.stage not in (Stage.FINISHED, Stage.UNKNOWN):
            self.superseded.add(task.id)
        self.tell(actor, Superseded())
        if row is not None and not row.unread and row.seq <= task.durable:  # not that of a life that was forgotten
            assert actor.task.wish == task.wish, "an attempt is deleted that somebody is known to have read"

    def read(self, meta: bytes) -> Promise[Any]:
        actor = self._named(meta)
        if actor is None:
            if decode_reference_untrusted(meta) is not None:
                return Promise()
            actor = self._start(adopt(CATEGORY, self.policy, meta, self.now))
        actor.read_gap = self.now - actor.read_at if actor.read else 0.0
        actor.read, actor.read_at = True, self.now
        if actor.asleep:
            actor.asleep = False
            self.tell(actor, Wanted())
        if actor.task.id in self.published:
            promise: Promise[Any] = Promise()
            promise.resolve(self.published[actor.task.id][1])
            return promise
        return self._ask(actor, ReadAsked)

    def delete(self, meta: bytes) -> Promise[Any]:
        actor = self._named(meta)
        if actor is None:
            if decode_reference_untrusted(meta) is not None:
                return Promise()
            actor = self._start(adopt_to_delete(CATEGORY, self.policy, meta))
        return self._ask(actor, DeleteAsked)

    def delete_actor(self, actor: Actor) -> Promise[Any]:
        """Delete a task by what only a client who was given nothing yet cannot know: its reservation."""
        return self._ask(actor, DeleteAsked)

    # ---- what comes of calls ----------------------------------------------------------------------------------

    def calls(self) -> list[Actor]:
        """Return the actors whose call is under way, the oldest first."""
        return [actor for actor in self.actors.values() if actor.call is not None]

    def succeed(self, actor: Actor, changed: str = "") -> None:
        """Have the external system do what it is asked for, and say so."""
        task, operation = actor.task, actor.call
        if operation == "create":
            self.answer(actor, Created(self.external.create(task.id)))
        elif operation == "find":
            found = self.external.find(task.id)
            self.answer(actor, NotFound() if found is None else Created(found))
        elif operation == "delete":
            self.external.delete(task.meta or b"")
            self.answer(actor, Gone())
        else:
            self._poll(actor, changed)

    def _poll(self, actor: Actor, changed: str) -> None:
        job = self.external.jobs.get(actor.task.meta or b"")
        if job is None or (not job.alive and job.end is None):
            self.fail(actor, FailureKind.GONE)
            return
        phase = job.end or Phase.RUNNING
        self.answer(actor, Polled(phase, bytes(Resource(phase=phase, message=changed)), self._demand(actor)))

    def fail(self, actor: Actor, kind: FailureKind, after: float = 0.0) -> None:
        """Have a call fail without an effect."""
        failure = Failure(kind, "it failed", after)
        actor.not_before = (actor.call or "", self.now + after)
        events: dict[str | None, Event] = {
            "create": CreateFailed(failure),
            "find": FindFailed(failure),
            "get": PollFailed(failure),
            "delete": Gone() if kind is FailureKind.GONE else DeleteFailed(failure),
        }
        self.answer(actor, events[actor.call])

    def lose(self, actor: Actor, effect: str, kind: FailureKind = FailureKind.TIMEOUT) -> None:
        """Have a call run out of time, or its connection break. What it asked for happens "now", "never" or "late"."""
        self._effect(actor, effect)
        self.fail(actor, kind)

    def call_back(self, actor: Actor) -> None:
        """Tell a task whose call was refused that the external system answers."""
        actor.not_before = ("", 0.0)
        self.tell(actor, Answering())

    def forget(self, actor: Actor) -> None:
        """Have an operator forget a task: its job is nobody's any more."""
        self.forgotten.add(actor.task.id)
        self.confirmed.discard(actor.task.id)
        self.tell(actor, ForgetAsked())

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

    def answer(self, actor: Actor, outcome: Event) -> None:
        """Give an actor the outcome of its call."""
        assert actor.call is not None
        actor.call = None
        self.tell(actor, outcome)

    # ---- time, the ledger, crashes ----------------------------------------------------------------------------

    def flush(self, *, failing: bool = False, rows: int = 1000) -> None:
        """Have the ledger commit what has come in, or the first of it."""
        self.store.failing = failing
        ledger = self.ledger
        ledger._take(rows)
        if ledger._writing:
            ledger._done(ledger._write(ledger._writing), 0.0)
        self.store.failing = False

    def advance(self, seconds: float) -> None:
        """Let time pass: what falls due in it happens, in order."""
        until = self.now + seconds
        while (due := self._next_due(until)) is not None:
            self.now, happens = max(self.now, due[0]), due[1]
            happens()
        self.now = until

    def _next_due(self, until: float) -> tuple[float, Callable[[], object]] | None:
        agenda: list[tuple[float, Callable[[], object]]] = [
            (actor.timer, partial(self._woke, actor)) for actor in self.actors.values() if actor.timer is not None
        ]
        agenda += [(at, partial(self._land, index)) for index, (at, _) in enumerate(self.late)]
        first = min(agenda, key=lambda item: item[0], default=None)
        return first if first is not None and first[0] <= until else None

    def _woke(self, actor: Actor) -> None:
        actor.timer = None
        self.tell(actor, Due(self._demand(actor)))

    def _land(self, index: int) -> None:
        _, effect = self.late.pop(index)
        effect()

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

    # ---- inside -----------------------------------------------------------------------------------------------

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

    def _current(self, key: str) -> Actor | None:
        candidates = [actor for actor in self.actors.values() if actor.task.key == key]
        latest = max(candidates, key=lambda actor: actor.task.generation, default=None)
        return None if latest is None or latest.task.freed else latest

    def _named(self, meta: bytes) -> Actor | None:
        return self.actors.get(self.names.get(meta) or decode_reference_untrusted(meta) or "")

    def _demand(self, actor: Actor) -> Demand:
        return Demand(actor.read_at, actor.read_gap)

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

    def check(self) -> None:
        """Check what must hold after every step."""
        check(self)

    def in_ledger(self, task: str) -> bool:
        """Whether a row of a task waits to be written."""
        entries = [*self.ledger._queue, *self.ledger._writing, *self.ledger._again]
        return any(not isinstance(entry.row, str) and entry.row.id == task for entry in entries)

    def settle(self) -> None:
        """Let the faults stop, and time pass until nothing is owed any more; then check that nothing is."""
        for _ in range(60):
            self.flush()
            while calls := self.calls():
                self.succeed(calls[0])
                self.flush()
            self.check()
            self.advance(5.0)
        check_settled(self)
