"""The ledger actor: the only writer of the store.

Task actors hand in rows synchronously and are told by callback when these are durable. A store that does not block is
written in the same breath. One that does is written from a worker thread, all that has come in meanwhile in one commit:
many actors share the price of one fsync.

A store that does not write is tried again with backoff, by this actor alone. Meanwhile whoever hands in a row is told
at once that it is not durable; the row is kept all the same, and written when the store is back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import structlog
import trio

from flytower.actors.ledger.batch import Confirm, Entry, compacted, net
from flytower.actors.ledger.store import LedgerError, LedgerLost
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from flytower.actors.ledger.row import Row
    from flytower.actors.ledger.store import Command, Store
    from flytower.runtime.context import Context

log = structlog.get_logger(__name__)

COMMIT_ROWS = 1000
"""Rows in one commit at the most: some ten milliseconds of SQLite, so that the first of them does not wait long."""

GATHER_TURNS = 2
"""Turns of the loop that a commit waits for what the last one brings about: a create is called in the next, and its
result is written in the turn in which it returns. A create then shares two commits, and not three or four."""

CROWD = 3
"""Rows in a commit from which on the next one waits a little longer: alone, nobody waits for others."""

GATHER_SECONDS = 0.002
"""How much longer: a create with 31 beside it then takes 510 to 560 us of CPU, and 750 to 810 without, since it shares
its commits with more of them (measured)."""

FLUSH_SECONDS = 10.0
"""Seconds that a stopping ledger may take for what is queued; a healthy store needs one commit."""

SLOW_SECONDS = 2.0
"""A commit that takes longer counts as failing until it is over. It takes milliseconds, but a disk or processor that
others keep busy was seen to need more than a second; and who is refused has lost an attempt of the task, while callers
wait for 3 to 10 s."""

RETRY_MINIMUM = 0.2
"""Seconds until a store that has failed is tried again: a lock that another process held is gone by then."""

RETRY_MAXIMUM = 5.0
"""The longest such pause: how late it is noticed that a disk has room, or a database is back."""

THREADS = 2
"""One thread writes, one reads; the default limiter's could all be held by something else."""

T = TypeVar("T")

Observe = Callable[[int, float, LedgerError | None], object]
"""Told of each commit: its rows, its seconds, and what went wrong."""


class Stored(NamedTuple):
    """A row, and whether it is durable: if not, it is on its way."""

    row: Row
    durable: bool


class Ledger:
    """The actor in front of a store.

    Args:
        store: Where the rows go. Closing it is up to whoever opened it.
        observe: Told of each commit.
    """

    def __init__(self, store: Store, observe: Observe = lambda _rows, _seconds, _error: None) -> None:
        self.store = store
        self.trouble: LedgerError | None = None  # why the store does not write at the moment
        self._observe = observe
        self._queue: list[Entry] = []  # what is not written yet, in order of arrival; only for blocking stores
        self._writing: list[Entry] = []  # what is being written now
        self._again: list[Entry] = []  # what could not be written
        self._arrived = trio.Event()
        self._busy = trio.Event()  # a commit is under way
        self._began = 0.0  # when it began
        self._reads: list[set[str]] = []  # what was forgotten during each read that is under way
        self._limiter = trio.CapacityLimiter(THREADS)
        self._patience: trio.CancelScope | None = None  # around the commit that is under way
        self._flush_by = float("inf")
        self._committed = 0
        self._last_rows = 0  # in the last commit
        self._started = 0.0

    # ---- writing ----------------------------------------------------------------------------------------------

    def record(self, row: Row, confirm: Confirm) -> None:
        """Write a row; `confirm` follows, at once or later. Never raises."""
        if self.trouble is None:
            self._submit(Entry(row, confirm))
            return
        if self.store.blocking:
            self._submit(Entry(row, None))
            confirm(self.trouble)

    def forget(self, task: str) -> None:
        """Remove a row, after all that was recorded before."""
        for gone in self._reads:
            gone.add(task)
        self._submit(Entry(task, None))

    # ---- reading ----------------------------------------------------------------------------------------------

    async def rows(self, category: tuple[str, int] | None = None) -> list[Stored]:
        """Return the last row of each task of a category (or of all) that was not forgotten meanwhile.

        Raises:
            LedgerError: The store cannot read.
        """
        gone: set[str] = set()
        self._reads.append(gone)
        try:
            rows = await self._read(lambda: self.store.rows(category))
        finally:
            self._reads.remove(gone)
        pending = {entry.task: entry.row for entry in (*self._again, *self._writing, *self._queue)}
        found = []
        for row in rows:
            last = pending.get(row.id, row)
            if row.id not in gone and not isinstance(last, str):
                found.append(Stored(last, last is row))
        return found

    async def row(self, task: str) -> Row | None:
        """Return what is durable of a task, or None.

        Raises:
            LedgerError: The store cannot read.
        """
        return await self._read(lambda: self.store.get(task))

    async def commands(self) -> Sequence[Command]:
        """Return what operators have asked for, in order.

        Raises:
            LedgerError: The store cannot read.
        """
        return await self._read(self.store.commands)

    async def settle(self, numbers: Sequence[int]) -> None:
        """Take out commands that were carried out.

        Raises:
            LedgerError: The store cannot write.
        """
        await self._read(lambda: self.store.settle(numbers))

    async def note_respite(self, category: tuple[str, int], until: float) -> None:
        """Write down until when the external system of a task category wants to be left alone, in Unix seconds.

        Raises:
            LedgerError: The store cannot write.
        """
        await self._read(lambda: self.store.note_respite(category, until))

    async def respite(self, category: tuple[str, int]) -> float:
        """Return what was written last, 0.0 where nothing was.

        Raises:
            LedgerError: The store cannot read.
        """
        return await self._read(lambda: self.store.respite(category))

    async def _read(self, read: Callable[[], T]) -> T:
        if not self.store.blocking:
            return read()
        return await trio.to_thread.run_sync(read, limiter=self._limiter, abandon_on_cancel=True)

    # ---- life -------------------------------------------------------------------------------------------------

    async def run(self, context: Context) -> None:
        """Write what comes in, until the stop; then write what is left.

        Raises:
            LedgerLost: Another server owns the store now. This one has to end: its tasks are that one's.
        """
        if isinstance(self.trouble, LedgerLost):
            raise self.trouble
        self._started = trio.current_time()
        self._flush_by = float("inf")
        context.ready()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_for_ever)
                nursery.start_soon(self._watch_for_ever)
                try:
                    await context.stop_requested.wait()
                finally:
                    self._hurry(min(FLUSH_SECONDS, context.grace))
                    nursery.cancel_scope.cancel(reason="the ledger was told to stop")
        finally:
            await self._flush()

    async def _flush(self) -> None:
        """Write what is left: what actors were told to be on its way must not get lost with a cancellation."""
        self._hurry()
        while self._queue and not self.trouble and trio.current_time() < self._flush_by:
            await self._commit()

    def _hurry(self, seconds: float = FLUSH_SECONDS) -> None:
        """From now on, wait for the store no longer than the time for a flush, the commit under way included."""
        self._flush_by = min(self._flush_by, trio.current_time() + seconds)
        if self._patience is not None:
            self._patience.deadline = self._flush_by

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself."""
        state = f"{self._committed} commits" if self.trouble is None else f"failing: {self.trouble}"
        return Node(path, "Ledger", state, mailbox=len(self._queue), age=now - self._started)

    # ---- the writer -------------------------------------------------------------------------------------------

    def _submit(self, entry: Entry) -> None:
        self._queue.append(entry)
        if self.store.blocking:
            self._arrived.set()
        else:
            self._take()
            self._done(self._write(self._writing), 0.0)

    async def _write_for_ever(self) -> None:
        pause = RETRY_MINIMUM
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            while self._queue or self._again:
                await self._gather()
                await self._commit()
                if self.trouble is None:
                    pause = RETRY_MINIMUM
                else:
                    await trio.sleep(pause)
                    pause = min(RETRY_MAXIMUM, 2 * pause)

    async def _gather(self) -> None:
        """Let come what belongs into the same commit."""
        for _ in range(GATHER_TURNS):
            await trio.lowlevel.checkpoint()
        if self._last_rows >= CROWD:
            await trio.sleep(GATHER_SECONDS)

    async def _commit(self) -> None:
        self._take()
        self._began = trio.current_time()
        self._busy.set()
        error: LedgerError | None = LedgerError("the store has not answered before the server stopped")
        # A commit under way is not abandoned before the server ends: nobody could say whether it happened.
        with trio.CancelScope(shield=True, deadline=self._flush_by) as self._patience:
            error = await trio.to_thread.run_sync(
                self._write, self._writing, limiter=self._limiter, abandon_on_cancel=True
            )
        self._patience = None
        self._done(error, trio.current_time() - self._began)
        if isinstance(error, LedgerLost):
            raise error

    async def _watch_for_ever(self) -> None:
        """Notice commits that take too long: who waits for one is told, and can come again."""
        while True:
            await self._busy.wait()
            self._busy = trio.Event()
            while self._writing:
                began = self._began
                await trio.sleep_until(began + SLOW_SECONDS)
                if self._writing and self._began == began:
                    if self.trouble is None:
                        self._refuse(LedgerError(f"the store has not answered for {SLOW_SECONDS:g} s"))
                    break

    def _take(self, rows: int = COMMIT_ROWS) -> None:
        self._writing = [*self._again, *self._queue[:rows]]
        self._queue, self._again = self._queue[rows:], []

    def _write(self, batch: Sequence[Entry]) -> LedgerError | None:
        """Write a batch to the store; runs in a worker thread when the store blocks."""
        rows, removed = net(batch)
        try:
            if removed:
                self.store.remove(removed)
            if rows:
                self.store.put(rows)
        except LedgerError as error:
            return error
        except Exception as error:
            log.exception("the store raised what a store must not raise", store=repr(self.store))
            return LedgerError(f"{type(error).__name__} in the store; see the server's log")
        return None

    def _done(self, error: LedgerError | None, seconds: float) -> None:
        """A batch was written, or was not: say so to all who wait for it."""
        batch, self._writing = self._writing, []
        self._last_rows = len(batch)
        if self.store.blocking:
            self._observe(len(batch), seconds, error)
        if error is None:
            self._committed += 1
            if self.trouble is not None:
                log.info("the ledger writes again")
            self.trouble = None
        else:
            log.error("the ledger cannot write", rows=len(batch), error=str(error))
            self._again = compacted(batch) if self.store.blocking else [e for e in batch if isinstance(e.row, str)]
            self.trouble = error if self.store.blocking else None
        for entry in batch:
            if entry.confirm is not None:
                entry.confirm(error)

    def _refuse(self, error: LedgerError) -> None:
        """Tell all who wait that it may take long. What they handed in is written all the same."""
        log.error("the ledger is slow", rows=len(self._writing) + len(self._queue), error=str(error))
        self.trouble = error
        waiting = [*self._writing, *self._queue]
        self._writing = [Entry(entry.row, None) for entry in self._writing]
        self._queue = [Entry(entry.row, None) for entry in self._queue]
        for entry in waiting:
            if entry.confirm is not None:
                entry.confirm(error)
