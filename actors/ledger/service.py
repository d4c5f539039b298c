"""The ledger actor: the only writer of the store.

Task actors hand in rows synchronously and are told by callback when these are durable. A store that does not block is
written in the same breath. One that does is written from a worker thread, all that has come in meanwhile in one commit:
many actors share the price of one fsync.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog
import trio
from flytower.actors.ledger.store import LedgerError
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from flytower.actors.ledger.row import Row
    from flytower.actors.ledger.store import Store
    from flytower.runtime.context import Context

log = structlog.get_logger(__name__)

COMMIT_ROWS = 1000
"""Rows in one commit at the most: some ten milliseconds of SQLite, so that the first of them does not wait long."""

FLUSH_SECONDS = 10.0
"""Seconds that a stopping ledger may take for what is queued; a healthy store needs one commit."""

Confirm = Callable[[LedgerError | None], None]
"""Called once for each row: with None when it is durable, with the error when it is not."""


class _Entry(NamedTuple):
    row: Row | str  # a row to write, or the id of one to remove
    confirm: Confirm | None


class Ledger:
    """The actor in front of a store.

    Args:
        store: Where the rows go. Closing it is up to whoever opened it.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._queue: list[_Entry] = []  # what is not written yet, in order of arrival; only for blocking stores
        self._arrived = trio.Event()
        self._committed = 0
        self._started = 0.0

    def record(self, row: Row, confirm: Confirm) -> None:
        """Write a row; `confirm` follows, at once or later. Never raises."""
        self._submit(_Entry(row, confirm))

    def forget(self, task: str) -> None:
        """Remove a row, after all that was recorded before."""
        self._submit(_Entry(task, None))

    async def run(self, context: Context) -> None:
        """Write what comes in, until the stop; then write what is left."""
        self._started = trio.current_time()
        context.ready()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_for_ever)
                await context.stop_requested.wait()
                nursery.cancel_scope.cancel()
        finally:
            # What actors were told to be on its way must not get lost with the cancellation that ends this task.
            with trio.move_on_after(FLUSH_SECONDS, shield=True):
                while self._queue:
                    await self._commit()

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself."""
        state = f"{self._committed} commits"
        return Node(path, "Ledger", state, mailbox=len(self._queue), age=now - self._started)

    def _submit(self, entry: _Entry) -> None:
        if self.store.blocking:
            self._queue.append(entry)
            self._arrived.set()
        else:
            self._confirm([entry], self._write([entry]))

    async def _write_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            while self._queue:
                await self._commit()

    async def _commit(self) -> None:
        batch, self._queue = self._queue[:COMMIT_ROWS], self._queue[COMMIT_ROWS:]
        # A commit under way is not abandoned: nobody could say afterwards whether it happened. Stores bound their
        # calls.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * FLUSH_SECONDS):
            error = await trio.to_thread.run_sync(self._write, batch)
            self._confirm(batch, error)

    def _write(self, batch: Sequence[_Entry]) -> LedgerError | None:
        """Write a batch to the store; runs in a worker thread when the store blocks."""
        rows = [entry.row for entry in batch if not isinstance(entry.row, str)]
        removed = [entry.row for entry in batch if isinstance(entry.row, str)]
        try:
            if rows:
                self.store.put(rows)
            if removed:
                self.store.remove(removed)
        except LedgerError as error:
            return error
        return None

    def _confirm(self, batch: Sequence[_Entry], error: LedgerError | None) -> None:
        self._committed += error is None
        if error is not None:
            log.error("the ledger cannot write", rows=len(batch), error=str(error))
        for entry in batch:
            if entry.confirm is not None:
                entry.confirm(error)
