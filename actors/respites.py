"""A respite that outlives the server: a restart is no reason to ask an external system sooner than it has allowed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
import trio

from flytower.actors.bulkhead import Respite
from flytower.actors.ledger.store import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flytower.actors.ledger.service import Ledger

log = structlog.get_logger(__name__)

SHORTEST: Final = 5.0
"""Seconds of a respite that is worth a commit: a shorter one is over before another server has begun."""

NEWS: Final = 1.0
"""Seconds that one has to end later to be written again: each of a hundred calls that are under way hears another."""


LONGEST: Final = 86_400.0
"""Seconds that are taken up at most: a clock that was wrong when it was written must not silence a connector."""


class LastingRespite(Respite):
    """The respite of one connector, which the ledger has as well.

    Args:
        ledger: Where it is written down.
        category: Whose it is: the name and version of the task category.
        wall: The time in Unix seconds, which two servers share.
    """

    def __init__(self, ledger: Ledger, category: tuple[str, int], wall: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._ledger = ledger
        self._category = category
        self._wall = wall
        self._longer = trio.Event()
        self._written = 0.0  # until when the ledger says, in Unix seconds

    def asked(self, now: float, seconds: float) -> None:
        """Note what the external system has asked for, and have it written down."""
        super().asked(now, seconds)
        if seconds >= SHORTEST:
            self._longer.set()

    async def recall(self) -> None:
        """Take up what an earlier server has left.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        self._written = await self._ledger.respite(self._category)
        super().asked(trio.current_time(), min(LONGEST, self._written - self._wall()))

    async def write_for_ever(self) -> None:
        """Write down what is asked for, until cancelled. What the ledger does not take is lost with the server."""
        while True:
            await self._longer.wait()
            self._longer = trio.Event()
            until = self._wall() + self.left(trio.current_time())
            if until < self._written + NEWS:
                continue
            try:
                await self._ledger.note_respite(self._category, until)
            except LedgerError as error:
                log.warning("a respite is not in the ledger", category=self._category, error=str(error))
            else:
                self._written = until
