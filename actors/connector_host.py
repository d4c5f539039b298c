"""The supervisor of one connector's tasks: its workers, its limits, and the entities that are its jobs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
import trio

from flytower.actors.behaviour import CONTROL_LANE, POLL_LANE, TaskBehaviour
from flytower.actors.births import adopt, adopt_to_delete, reserve, resume
from flytower.actors.events import Superseded
from flytower.actors.passage import Passage
from flytower.actors.refusals import ledger_unavailable
from flytower.actors.respites import LastingRespite
from flytower.connectors.policy import RETENTION
from flytower.runtime.exits import stopped
from flytower.runtime.host import EntityHost
from flytower.runtime.host_errors import EntityGone, HostError
from flytower.runtime.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flytower.actors.directory import Directory
    from flytower.actors.events import Event
    from flytower.actors.identity import Identity
    from flytower.actors.ledger.service import Ledger
    from flytower.actors.metrics import Metrics
    from flytower.actors.task import Task
    from flytower.connectors.bound import Bound
    from flytower.connectors.category import TaskCategory
    from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest
    from flytower.runtime.context import Context
    from flytower.runtime.promise import Promise
    from flytower.runtime.timers import Timers
    from flytower.runtime.tree import Node

log = structlog.get_logger(__name__)

TASKS = 200_000
"""Tasks of one connector at once: some 300 MiB of records; more is a runaway client, and is refused."""


class ConnectorHost:
    """Runs the tasks of one connector; a child of the supervisor of all connectors.

    One of these is made for each incarnation: it resumes from the ledger what belongs to its connector.

    Args:
        connector: Whose tasks they are.
        timers: The node's timers.
        directory: Where the node's tasks are found.
        ledger: Where they are written down.
        metrics: Where calls are counted.
        hosts: Where the gateway finds it by its category, as long as it runs.
        limit: Tasks at once.
        retention: Seconds that a task that is over stays readable, where the connector declares nothing else.
    """

    def __init__(
        self,
        connector: Bound,
        timers: Timers,
        directory: Directory,
        ledger: Ledger,
        metrics: Metrics,
        hosts: dict[TaskCategory, ConnectorHost],
        *,
        limit: int = TASKS,
        retention: float = RETENTION,
    ) -> None:
        self.connector = connector
        declared = connector.policy
        self._policy = replace(declared, retention=retention) if declared.retention == RETENTION else declared
        self._hosts = hosts
        self.passage = Passage(connector, metrics)
        self._directory = directory
        self._ledger = ledger
        self._respite = LastingRespite(ledger, (connector.category.name, connector.category.version))
        self._behaviour = TaskBehaviour(
            connector, self.tell, self.state, directory, ledger, metrics, respite=self._respite
        )
        concurrency = self._policy.concurrency
        lanes = (POLL_LANE, CONTROL_LANE)
        self.lanes = [Lane(name, concurrency, foreground=timers.foreground) for name in lanes]
        self._host = EntityHost(connector.name, self._behaviour, timers, self.lanes, limit=limit)

    async def run(self, context: Context) -> None:
        """Resume what the ledger has, then live until the stop."""
        await self._respite.recall()
        resumed = await self.resume_orphans()
        if resumed:
            log.info("tasks resumed", connector=self.connector.name, tasks=resumed)
        self._hosts[self.connector.category] = self
        self._behaviour.clock = trio.lowlevel.current_clock().current_time
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._respite.write_for_ever)
                await self._host.run(context)
                nursery.cancel_scope.cancel(reason="its host has stopped")
        finally:
            del self._hosts[self.connector.category]

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself, its tasks included."""
        return self._named(self._host.inspect(path, now))

    def summarize(self, path: str, now: float) -> Node:
        """Describe itself, its tasks summed up."""
        return self._named(self._host.summarize(path, now))

    def _named(self, node: Node) -> Node:
        return replace(node, kind="ConnectorHost", state=f"{node.state}, circuit {self._behaviour.breaker.state}")

    def reserve(
        self, identity: Identity, generation: int, fingerprint: str, request: CreateTaskRequest, *, withheld: bool
    ) -> str:
        """Give birth to a task that is to be created; returns its id.

        Raises:
            HostError: There is no room for it.
            RpcError: UNAVAILABLE, the ledger does not take anything at the moment.
        """
        if self._ledger.trouble is not None:
            raise ledger_unavailable(self.connector.category, str(self._ledger.trouble))
        born = reserve(
            self.connector.category, self._policy, identity, generation, fingerprint, request, withheld=withheld
        )
        return self._start(born)

    def adopt(self, meta: bytes) -> str:
        """Give birth to a task that is known by its resource_meta only; returns its id."""
        return self._start(adopt(self.connector.category, self._policy, meta, trio.current_time()))

    def adopt_to_delete(self, meta: bytes) -> str:
        """Give birth to a task that is known by its resource_meta only, and is to be deleted; returns its id."""
        return self._start(adopt_to_delete(self.connector.category, self._policy, meta))

    @property
    def creating(self) -> int:
        """Creates of the connector that were begun and have not come back."""
        return len(self._behaviour.creating)

    def tell(self, task_id: str, event: Event) -> bool:
        """Send an event to a task; False when there is none of that id."""
        return self._host.tell(task_id, event)

    def ask(self, task_id: str, make_event: Callable[[Promise[bytes]], Event], promise: Promise[bytes]) -> None:
        """Send an event that is to be answered; the promise fails if the task ends without doing so."""
        self._host.ask(task_id, make_event, promise)

    def state(self, task_id: str) -> Task:
        """Return the record of a task.

        Raises:
            EntityGone: There is none of that id.
        """
        if not self._host.has(task_id):
            raise EntityGone(task_id, stopped("not on this node"))
        return self._host.state(task_id)

    async def resume_orphans(self) -> int:
        """Give an actor to each task of this connector that the ledger has, and that has none; returns how many.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        category, policy = self.connector.category, self._policy
        stored = await self._ledger.rows((category.name, category.version))
        now, wall = trio.current_time(), time.time()
        resumed = []
        for row, durable in stored:
            if self._host.has(row.id):
                continue
            try:
                resumed.append(self._start(resume(row, policy, now, durable=durable, wall=wall)))
            except HostError as error:
                log.error("tasks wait for room", connector=self.connector.name, reason=str(error))  # noqa: TRY400 - no bug
                break
        self._supersede(resumed)
        return len(resumed)

    def _supersede(self, tasks: Iterable[str]) -> None:
        """Tell attempts that a later one is there: who should have told them may have died before."""
        for task in tasks:
            entry = self._directory.get(task)
            if entry is not None and entry.place and self._directory.is_superseded(entry):
                self.tell(task, Superseded())

    def _start(self, begun: tuple[Task, Sequence[object]]) -> str:
        known = self._directory.get(begun[0].id) is not None
        task, effects = self._behaviour.begun(begun, trio.current_time())
        try:
            self._host.start(task.id, task, effects)
        except HostError:
            if not known:
                self._directory.leave(task.id)  # no actor would ever take it out
            raise
        return task.id
