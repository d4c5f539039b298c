"""The entity host: thousands of entities of one behaviour, in a few hundred bytes each, as one child of a supervisor.

See `flytower.runtime.entity` for what an entity is and what it may ask of its host, `entity_engine` for how messages
become transitions and effects, `lanes` for who runs their calls and `timers` for who wakes them.

An entity has no task, so no nursery ends it. The host gives that guarantee back: when `run` is over, for whatever
reason, every call has ended, every entity has, every promise is settled, and no timer is left.
"""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import trio

from flytower.runtime.entity_engine import EntityEngine
from flytower.runtime.exits import Exit, crashed, leaves, stopped
from flytower.runtime.host_errors import EntityGone, EntityMailboxFull, HostFull, HostStopped
from flytower.runtime.intensity import Intensity
from flytower.runtime.promise import Promise
from flytower.runtime.timers import Timers
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from flytower.runtime.context import Context
    from flytower.runtime.entity import Behaviour
    from flytower.runtime.entity_record import EntityRecord
    from flytower.runtime.lanes import Lane, LaneStatistics

S = TypeVar("S")
T = TypeVar("T")

LIMIT = 100_000
"""Entities of one host: twice the 50,000 that everything is measured with, and 50 MB of records."""

MAILBOX_LIMIT = 1_000
"""Messages that may wait for one entity. They wait only while the host starts, or while others are being handled in the
same breath: a queue that long is a loop of entities that answer one another."""

INTENSITY = Intensity(restarts=3, within=60.0)
"""An entity that crashes more often crashes of its own state; restoring that once more does not mend it."""

INSPECT_LIMIT = 200
"""Entities that the tree names one by one; a human reads no more, and the rest are summed up in one node."""

BATCH = 50
"""Entities that are started or told to stop in one turn of the loop; as many as timers come due in one."""

ENDING_BATCH = 500
"""Entities that are ended in one turn: that is cheap (a few microseconds each), and a supervisor is waiting for it."""


class Phase(Enum):
    """Where the host is in its life."""

    NEW = "new"  # messages and entities are taken, and wait
    RUNNING = "running"
    STOPPING = "stopping"  # no new entities, no timers; messages are still handled
    OVER = "over"  # nothing is taken


class HostStatistics(NamedTuple):
    """The host as it is now, and what it has counted since it was made.

    Args:
        phase: Where it is in its life.
        entities: Entities that live.
        queued: Messages that wait.
        crashes: Times that a transition or effect raised.
        dead_letters: Messages to entities that were over, or never there.
        lanes: Its lanes, by name.
    """

    phase: Phase
    entities: int
    queued: int
    crashes: int
    dead_letters: int
    lanes: dict[str, LaneStatistics]


class EntityHost(Generic[S]):
    """Runs the entities of one behaviour.

    Everything but `run` is synchronous. A message to an idle entity is handled before `tell` or `ask` returns. One that
    is sent while an entity of this host is being moved (from `perform`, a callback of a promise, `ended`) is handled
    right after that, in the order of sending. Before `run`, entities can be started and told: all of it waits.

    Args:
        name: For logs and errors.
        behaviour: What all entities do.
        timers: Shared with others, and run by somebody else. None: the host has and runs its own.
        lanes: Where calls run, each known by its name; they are this host's alone.
        limit: Entities.
        mailbox_limit: Messages that may wait for one entity.
        intensity: How often one entity is restarted after a crash. Beyond it, it ends as crashed.
        inspect_limit: Entities that `inspect` lists.
    """

    def __init__(
        self,
        name: str,
        behaviour: Behaviour[S],
        timers: Timers | None = None,
        lanes: Sequence[Lane] = (),
        *,
        limit: int = LIMIT,
        mailbox_limit: int = MAILBOX_LIMIT,
        intensity: Intensity = INTENSITY,
        inspect_limit: int = INSPECT_LIMIT,
    ) -> None:
        self.name = name
        self._behaviour = behaviour
        self._lanes = {lane.name: lane for lane in lanes}
        if len(self._lanes) < len(lanes):
            raise ValueError(f"two lanes of host {name!r} have the same name")
        self._timers = timers or Timers()
        self._owns_timers = timers is None
        self._limit = limit
        self._mailbox_limit = mailbox_limit
        self._inspect_limit = inspect_limit
        self._phase = Phase.NEW
        self._started = 0.0
        self._engine = EntityEngine(name, behaviour, self._timers, lanes, intensity)
        self._records = self._engine.records

    # ---- entities ---------------------------------------------------------------------------------------------

    def start(self, key: Hashable, state: S, effects: Sequence[object] = ()) -> None:
        """Start an entity with a state, and perform its first effects.

        Raises:
            EntityLives: One with that key lives already.
            HostFull: There are too many.
            HostStopped: The host is stopping.
        """
        if self._phase in {Phase.STOPPING, Phase.OVER}:
            raise HostStopped(f"host {self.name!r} is {self._phase.value} and starts no entity {key!r}")
        if len(self._records) >= self._limit:
            raise HostFull(f"host {self.name!r} has {self._limit} entities and takes no more")
        self._engine.start(key, state, effects)

    def has(self, key: Hashable) -> bool:
        """Say whether an entity with that key lives."""
        return key in self._records

    def state(self, key: Hashable) -> S:
        """Return the state of an entity.

        Raises:
            EntityGone: There is none with that key.
        """
        record = self._records.get(key)
        if record is None:
            raise EntityGone(key, NO_ENTITY)
        return record.state

    def keys(self) -> list[Hashable]:
        """Return the keys of all entities, the oldest first."""
        return list(self._records)

    def tell(self, key: Hashable, message: object) -> bool:
        """Send a message; return False when there is no such entity, or its mailbox is full."""
        record = self._records.get(key)
        if record is None or self._phase is Phase.OVER:
            self._engine.dead_letters += 1
            return False
        if record.queued >= self._mailbox_limit:
            return False
        self._engine.deliver(record, message)
        return True

    def ask(
        self, key: Hashable, make_message: Callable[[Promise[T]], object], promise: Promise[T] | None = None
    ) -> Promise[T]:
        """Send the message that `make_message` makes of a promise; return the promise, answered or not.

        `promise` is for callers with a kind of promise of their own.

        It is rejected with `EntityGone` when there is no such entity, and when it ends or crashes before it has
        answered; with `EntityMailboxFull` when too many messages wait for it.
        """
        promise = promise if promise is not None else Promise()
        record = self._records.get(key)
        if record is None or self._phase is Phase.OVER:
            self._engine.dead_letters += 1
            promise.reject(EntityGone(key, NO_ENTITY))
        elif record.queued >= self._mailbox_limit:
            promise.reject(EntityMailboxFull(f"{record.queued} messages wait for entity {key!r} already"))
        else:
            self._engine.deliver(record, make_message(promise), promise)
        return promise

    def monitor(self, key: Hashable, callback: Callable[[Hashable, Exit], object]) -> None:
        """Have `callback(key, exit)` called when the entity ends; at once when there is none with that key."""
        record = self._records.get(key)
        if record is None:
            callback(key, NO_ENTITY)
        elif record.monitors is None:
            record.monitors = [callback]
        else:
            record.monitors.append(callback)

    def stop_entity(self, key: Hashable, reason: str) -> bool:
        """End an entity; return False when there is none with that key. From inside a step: right after it."""
        record = self._records.get(key)
        if record is None or self._phase is Phase.OVER:
            return False
        self._engine.stop(record, reason)
        return True

    # ---- life -------------------------------------------------------------------------------------------------

    async def run(self, context: Context) -> None:
        """Live one incarnation, until told to stop and no call runs any more, or cancelled.

        Raises:
            RuntimeError: It runs already; the caller's mistake.
        """
        if self._phase in {Phase.RUNNING, Phase.STOPPING}:
            raise RuntimeError(f"host {self.name!r} runs already")
        self._phase = Phase.RUNNING
        self._started = trio.current_time()
        self._engine.rng = context.rng
        self._engine.clock = trio.lowlevel.current_clock().current_time
        self._engine.winding_down = False
        exit = stopped(f"host {self.name!r} has stopped")  # noqa: A001 - OTP's word for it
        try:
            await self._live(context)
        except BaseException as error:
            exit = crashed(error) if list(leaves(error)) else stopped(f"host {self.name!r} was cancelled")  # noqa: A001
            raise
        finally:
            await self._end_all(exit)

    async def _live(self, context: Context) -> None:
        with ExitStack() as opened:
            async with trio.open_nursery() as nursery:
                try:
                    self._open(nursery, opened)
                    await self._begin()
                    context.ready()
                    await context.stop_requested.wait()
                    await self._wind_down()
                finally:  # what still runs is cancelled; only how it ends is still told to its entity
                    self._phase = Phase.OVER
                    self._engine.winding_down = True
                    nursery.cancel_scope.cancel(reason=f"host {self.name!r} is over")

    def _open(self, nursery: trio.Nursery, opened: ExitStack) -> None:
        for lane in self._lanes.values():
            lane.open(nursery)
            opened.callback(lane.close)
        if self._owns_timers:
            nursery.start_soon(self._timers.fire_for_ever)

    async def _begin(self) -> None:
        """Do what was asked for before the host ran, a batch in each turn, and all that comes in meanwhile."""
        left = self._engine.backlog
        while left > 0:
            left = max(left - BATCH, 0)
            self._engine.work_off(left)
            await trio.lowlevel.checkpoint()
        self._engine.release()

    async def _wind_down(self) -> None:
        """Tell all entities, then wait until no call runs."""
        self._phase = Phase.STOPPING
        self._engine.winding_down = True
        for records in _batches(list(self._records.values()), BATCH):
            for record in records:
                if record.exit is None:
                    self._engine.wind_down(record)
            await trio.lowlevel.checkpoint()
        while busy := [lane for lane in self._lanes.values() if lane.busy]:
            await busy[0].drained()

    async def _end_all(self, exit: Exit) -> None:  # noqa: A002
        """End every entity. Nothing is waited for: the shielded checkpoints let others run, one after each batch."""
        for records in _batches(list(self._records.values()), ENDING_BATCH):
            for record in records:
                self._engine.end(record, exit)
            await trio.lowlevel.cancel_shielded_checkpoint()
        self._engine.work_off(0)  # letters to the dead by now

    # ---- what it looks like -----------------------------------------------------------------------------------

    def statistics(self) -> HostStatistics:
        """Count."""
        return HostStatistics(
            self._phase,
            len(self._records),
            self._engine.backlog,
            self._engine.crashes,
            self._engine.dead_letters,
            {name: lane.statistics() for name, lane in self._lanes.items()},
        )

    def inspect(self, path: str, now: float) -> Node:
        """Describe the host and its entities, the oldest first; beyond the limit, one node stands for the rest."""
        named = list(islice(self._records.values(), self._inspect_limit))
        children = [self._node(record, path, now) for record in named]
        if len(named) < len(self._records):
            children.append(self._others(named, path, now))
        return self._own_node(path, now, children)

    def summarize(self, path: str, now: float) -> Node:
        """Describe the host, and all its entities as one node: it takes as long however many these are."""
        return self._own_node(path, now, [self._others([], path, now)])

    def _own_node(self, path: str, now: float, children: Sequence[Node]) -> Node:
        age = 0.0 if self._phase is Phase.NEW else now - self._started
        return Node(
            path, "EntityHost", self._phase.value, mailbox=self._engine.backlog, age=age, children=tuple(children)
        )

    def _node(self, record: EntityRecord[S], path: str, now: float) -> Node:
        return Node(
            f"{path}/{str(record.key).replace('/', '%2F')}",  # a path has one component for each actor
            type(self._behaviour).__name__,
            self._behaviour.describe(record.state),
            record.queued,
            record.restarts,
            now - record.started,
        )

    def _others(self, named: Sequence[EntityRecord[S]], path: str, now: float) -> Node:
        """Return the node that stands for the entities after the named ones: the age is that of the oldest.

        Their messages and restarts are counted together, those of entities that are over included.
        """
        count = len(self._records) - len(named)
        oldest = next(islice(self._records.values(), len(named), None), None)
        return Node(
            f"{path}/...",
            type(self._behaviour).__name__,
            f"{count} more",
            self._engine.backlog - sum(record.queued for record in named),
            self._engine.restarts - sum(record.restarts for record in named),
            0.0 if oldest is None else now - oldest.started,
            count=count,
        )


NO_ENTITY = stopped("no entity has that key")


def _batches(records: list[EntityRecord[Any]], size: int) -> Iterator[list[EntityRecord[Any]]]:
    return (records[start : start + size] for start in range(0, len(records), size))
