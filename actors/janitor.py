"""The janitor actor: looks after what nobody else looks after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from flytower.actors.events import DeleteAsked, ForgetAsked
from flytower.actors.ledger.store import LedgerError
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flytower.actors.connector_host import ConnectorHost
    from flytower.actors.directory import Directory
    from flytower.actors.ledger.service import Ledger
    from flytower.actors.ledger.store import Command
    from flytower.connectors.category import TaskCategory
    from flytower.runtime.context import Context

log = structlog.get_logger(__name__)

ROUND_SECONDS = 60.0
"""Seconds between two rounds: an orphan is the consequence of a mistake in this program, and not urgent."""

COMMAND_SECONDS = 2.0
"""Seconds between two looks for what operators want: a person waits for it, and it costs one small query."""


class Janitor:
    """Finds orphans and carries out what operators ask of the ledger; a child of the node.

    A task becomes an orphan when its actor crashed more often than its restart intensity allows. Operators ask through
    the ledger (`flytower tasks delete`, `forget`), so that it works whether or not a server runs.

    Args:
        hosts: The hosts that run now.
        ledger: What they are compared with, and where operators ask.
        directory: Where tasks are found.
        period: Seconds between two rounds.
    """

    def __init__(
        self,
        hosts: Mapping[TaskCategory, ConnectorHost],
        ledger: Ledger,
        directory: Directory,
        period: float = ROUND_SECONDS,
    ) -> None:
        self._hosts = hosts
        self._ledger = ledger
        self._directory = directory
        self._period = period
        self._adopted = 0
        self._carried_out = 0
        self._started = trio.current_time()

    async def run(self, context: Context) -> None:
        """Make rounds, until the stop."""
        context.ready()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._every, self._period, self._adopt_orphans)
            if self._ledger.store.blocking:  # nobody outside of the process can reach one that does not
                nursery.start_soon(self._every, COMMAND_SECONDS, self._obey)
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

    async def _obey(self) -> None:
        commands = await self._ledger.commands()
        done = [command.number for command in commands if await self._carry_out(command)]
        if done:
            self._carried_out += len(done)
            await self._ledger.settle(done)

    async def _carry_out(self, command: Command) -> bool:
        """Do what an operator wants of one task; False when that has to wait for a server with its connector."""
        entry = self._directory.get(command.task)
        host = self._hosts.get(entry.category) if entry is not None else None
        log.info("an operator's command", action=command.action, task=command.task, task_here=host is not None)
        if host is not None:
            return host.tell(command.task, DeleteAsked() if command.action == "delete" else ForgetAsked())
        if command.action == "forget":
            self._ledger.forget(command.task)
            return True
        return not await self._ledger.has(command.task)
