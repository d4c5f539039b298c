"""The janitor actor: looks after what nobody else looks after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flytower.actors.connector_host import ConnectorHost
    from flytower.runtime.context import Context

log = structlog.get_logger(__name__)

ROUND_SECONDS = 60.0
"""Seconds between two rounds: an orphan is the consequence of a mistake in this program, and not urgent."""


class Janitor:
    """Gives an actor back to every task that the ledger has and whose connector is here; a child of the node.

    A task loses its actor when the actor crashed more often than its restart intensity allows.

    Args:
        hosts: Returns the hosts that run now.
        period: Seconds between two rounds.
    """

    def __init__(self, hosts: Callable[[], Iterable[ConnectorHost]], period: float = ROUND_SECONDS) -> None:
        self._hosts = hosts
        self._period = period
        self._adopted = 0
        self._started = trio.current_time()

    async def run(self, context: Context) -> None:
        """Make a round every period, until the stop."""
        context.ready()
        while not context.stop_requested.is_set():
            with trio.move_on_after(self._period):
                await context.stop_requested.wait()
                return
            self._round()

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself."""
        return Node(path, "Janitor", f"{self._adopted} orphans adopted", age=now - self._started)

    def _round(self) -> None:
        for host in self._hosts():
            orphans = host.resume_orphans()
            if orphans:
                self._adopted += orphans
                log.warning("orphans adopted", connector=host.connector.name, tasks=orphans)
