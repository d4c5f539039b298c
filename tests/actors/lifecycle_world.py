"""A world for the life cycle alone: clients, a server, an external system, and what becomes of them step by step.

No event loop, no clock, no threads. The external system keeps an append-only record of what it did; actors and the
whole server crash, and begin again from their rows. What must hold at every moment is checked after every step.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from flytower.actors.births import adopt, adopt_to_delete, reserve
from flytower.actors.events import (
    Answering,
    CreateAsked,
    Created,
    CreateFailed,
    DeleteAsked,
    DeleteFailed,
    Due,
    Event,
    FindFailed,
    ForgetAsked,
    Gone,
    NotFound,
    Polled,
    PollFailed,
    ReadAsked,
    Superseded,
    Wanted,
)
from flytower.actors.failures import Failure, FailureKind
from flytower.actors.identity import Identity, decode_reference_untrusted
from flytower.actors.task import Stage
from flytower.connectors.policy import Policy, Recovery
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest, Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.promise import Promise
from tests.actors.lifecycle_fakes import CATEGORY, ExternalSystem
from tests.actors.lifecycle_invariants import check, check_settled
from tests.actors.lifecycle_server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.actors.lifecycle_server import Actor


class World(Server):
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
        external = ExternalSystem(honours_tokens=recovery is Recovery.TOKEN)
        super().__init__(Policy(recovery=recovery, **{**figures, **policy}), external)
        self.withheld = withheld

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
        self.answer(actor, Polled(phase, bytes(Resource(phase=phase, message=changed)), actor))

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

    def answer(self, actor: Actor, outcome: Event) -> None:
        """Give an actor the outcome of its call."""
        assert actor.call is not None
        actor.call = None
        self.tell(actor, outcome)

    # ---- time -------------------------------------------------------------------------------------------------

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
        self.tell(actor, Due(actor))

    def _land(self, index: int) -> None:
        _, effect = self.late.pop(index)
        effect()

    def _current(self, key: str) -> Actor | None:
        candidates = [actor for actor in self.actors.values() if actor.task.key == key]
        latest = max(candidates, key=lambda actor: actor.task.generation, default=None)
        return None if latest is None or latest.task.freed else latest

    # ---- what must hold ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check what must hold after every step."""
        check(self)

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
