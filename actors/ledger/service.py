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
        self._writing: list[_Entry] = []  # what is being written now
        self._again: list[_Entry] = []  # removals that failed: nobody else would try them again
        self._arrived = trio.Event()
        self._committed = 0
        self._started = 0.0

    def record(self, row: Row, confirm: Confirm) -> None:
        """Write a row; `confirm` follows, at once or later. Never raises."""
        self._submit(_Entry(row, confirm))

    def forget(self, task: str) -> None:
        """Remove a row, after all that was recorded before."""
        self._submit(_Entry(task, None))

    def latest(self, task: str) -> tuple[Row | None, bool]:
        """Return the last row that was handed in of a task, and whether it is durable: if not, `confirm` is to come.

        Raises:
            LedgerError: The store cannot read.
        """
        for entry in reversed((*self._writing, *self._queue)):
            if not isinstance(entry.row, str) and entry.row.id == task:
                return entry.row, False
        return self.store.get(task), True

    def rows(self) -> list[Row]:
        """Return the rows of all tasks but those forgotten, which the store may still have.

        Raises:
            LedgerError: The store cannot read.
        """
        pending = (*self._again, *self._writing, *self._queue)
        forgotten = {entry.row for entry in pending if isinstance(entry.row, str)}
        return [row for row in self.store.rows() if row.id not in forgotten]

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
        self._queue.append(entry)
        if self.store.blocking:
            self._arrived.set()
        else:
            batch = self._take()
            self._confirm(batch, self._write(batch))

    async def _write_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            while self._queue:
                await self._commit()

    async def _commit(self) -> None:
        batch = self._take()
        # A commit under way is not abandoned: nobody could say afterwards whether it happened. Stores bound their
        # calls.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * FLUSH_SECONDS):
            error = await trio.to_thread.run_sync(self._write, batch)
            self._confirm(batch, error)

    def _take(self) -> list[_Entry]:
        batch = self._writing = [*self._again, *self._queue[:COMMIT_ROWS]]
        self._queue, self._again = self._queue[COMMIT_ROWS:], []
        return batch

    def _write(self, batch: Sequence[_Entry]) -> LedgerError | None:
        """Write a batch to the store; runs in a worker thread when the store blocks."""
        rows, removed = _net(batch)
        try:
            if removed:
                self.store.remove(removed)
            if rows:
                self.store.put(rows)
        except LedgerError as error:
            return error
        return None

    def _confirm(self, batch: Sequence[_Entry], error: LedgerError | None) -> None:
        self._committed += error is None
        self._writing = []
        if error is not None:
            self._again = [entry for entry in batch if isinstance(entry.row, str)]
            log.error("the ledger cannot write", rows=len(batch), error=str(error))
        for entry in batch:
            if entry.confirm is not None:
                entry.confirm(error)


def _net(batch: Sequence[_Entry]) -> tuple[list[Row], list[str]]:
    """Return what a batch comes to: the rows to write, and the ids to remove before that.

    A task that was forgotten may begin anew under the same id and count from 1: what is left of the old one has to be
    out of its way. Of several rows of one task the last says it all.
    """
    rows: dict[str, Row] = {}
    removed: dict[str, None] = {}
    for entry in batch:
        if isinstance(entry.row, str):
            rows.pop(entry.row, None)
            removed[entry.row] = None
        else:
            rows[entry.row.id] = entry.row
    return list(rows.values()), list(removed)
