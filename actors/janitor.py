"""The janitor actor: looks after what nobody else looks after."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
import trio

from flytower.actors.events import DeleteAsked, ForgetAsked
from flytower.actors.ledger.store import LedgerError
from flytower.actors.task import Stage
from flytower.connectors.category import TaskCategory
from flytower.connectors.policy import RETENTION
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Mapping

    from flytower.actors.connector_host import ConnectorHost
    from flytower.actors.directory import Directory
    from flytower.actors.ledger.row import Row
    from flytower.actors.ledger.service import Ledger
    from flytower.actors.ledger.store import Command
    from flytower.runtime.context import Context

log = structlog.get_logger(__name__)

ROUND_SECONDS = 60.0
"""Seconds between two rounds: an orphan is the consequence of a mistake in this program, and not urgent."""

COMMAND_SECONDS = 2.0
"""Seconds between two looks for what operators want: a person waits for it, and it costs one small query."""

SWEEP_SECONDS = 600.0
"""Seconds between two looks for leftovers: it reads all rows, and they were kept for a day."""

TO_BE_TOLD = (Stage.FINISHED.value, Stage.UNKNOWN.value)
"""Stages that a delete ends, although the task may have had a wish before it came to that."""


class Janitor:
    """Finds orphans and leftovers, and carries out what operators ask of the ledger; a child of the node.

    A task becomes an orphan when its actor crashed more often than its restart intensity allows. Leftovers are of
    connectors that this server does not have: no actor forgets them after their retention. Operators ask through the
    ledger (`flytower tasks delete`, `forget`), so that it works whether or not a server runs.

    Args:
        hosts: The hosts that run now.
        ledger: What they are compared with, and where operators ask.
        directory: Where tasks are found.
        served: Returns the categories that have a connector, whether or not its host runs at the moment.
        retention: Seconds that leftovers are kept after their end.
        period: Seconds between two rounds.
        wall: The time in Unix seconds, by which retention goes.
    """

    def __init__(
        self,
        hosts: Mapping[TaskCategory, ConnectorHost],
        ledger: Ledger,
        directory: Directory,
        served: Callable[[], Container[TaskCategory]],
        *,
        retention: float = RETENTION,
        period: float = ROUND_SECONDS,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._hosts = hosts
        self._ledger = ledger
        self._directory = directory
        self._served = served
        self._retention = retention
        self._period = period
        self._wall = wall
        self._adopted = 0
        self._carried_out = 0
        self._seen: set[int] = set()  # numbers of the commands that are being carried out
        self._started = trio.current_time()

    async def run(self, context: Context) -> None:
        """Make rounds, until the stop."""
        context.ready()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._every, self._period, self._adopt_orphans)
            if self._ledger.store.blocking:  # nobody outside of the process can reach, or has left, one that does not
                nursery.start_soon(self._every, COMMAND_SECONDS, self._obey)
                nursery.start_soon(self._every, SWEEP_SECONDS, self._sweep)
            await context.stop_requested.wait()
            nursery.cancel_scope.cancel(reason="the janitor was told to stop")

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself."""
        state = f"{self._adopted} orphans adopted, {self._carried_out} commands carried out"
        return Node(path, "Janitor", state, age=now - self._started)

    async def _every(self, period: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await trio.sleep(period)
            try:
                await work()
            except LedgerError as error:
                log.warning("the janitor cannot read the ledger", reason=str(error))

    async def _adopt_orphans(self) -> None:
        for host in list(self._hosts.values()):
            orphans = await host.resume_orphans()
            if orphans:
                self._adopted += orphans
                log.warning("orphans adopted", connector=host.connector.name, tasks=orphans)

    async def _sweep(self) -> None:
        served, now = self._served(), self._wall()
        rows = [stored.row for stored in await self._ledger.rows()]
        leftovers = [row.id for row in rows if _category(row) not in served and _expired(row, now, self._retention)]
        for task in leftovers:
            self._ledger.forget(task)
        if leftovers:
            log.info("leftovers forgotten", tasks=len(leftovers))

    async def _obey(self) -> None:
        commands = await self._ledger.commands()
        self._seen &= {command.number for command in commands}
        done = [command.number for command in commands if await self._is_done(command)]
        for command in commands:
            if command.number not in done:
                self._carry_out(command)
        if done:
            await self._ledger.settle(done)

    async def _is_done(self, command: Command) -> bool:
        """Whether the ledger has what an operator wants: before that, a crash would make this server forget it."""
        row = await self._ledger.row(command.task)
        return row is None or (command.action == "delete" and row.wish and row.stage not in TO_BE_TOLD)

    def _carry_out(self, command: Command) -> None:
        """Do what an operator wants of one task, or leave it to a server that has the connector."""
        entry = self._directory.get(command.task)
        host = self._hosts.get(entry.category) if entry is not None else None
        if command.number not in self._seen:
            log.info("an operator's command", action=command.action, task=command.task, task_here=host is not None)
        told = False
        if host is not None:
            told = host.tell(command.task, DeleteAsked() if command.action == "delete" else ForgetAsked())
        elif command.action == "forget":
            self._ledger.forget(command.task)
            told = True
        self._carried_out += told and command.number not in self._seen
        self._seen.add(command.number)


def _category(row: Row) -> TaskCategory:
    return TaskCategory(row.category_name, row.category_version)


def _expired(row: Row, now: float, retention: float) -> bool:
    """Whether a task is over, and has been for longer than it is to stay readable."""
    return row.ended_at > 0.0 and now - row.ended_at > retention
