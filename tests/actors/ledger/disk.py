"""A ledger on a store that can be held up and can fail, and a record of what it has confirmed."""

from __future__ import annotations

import random
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.store import LedgerError, LedgerLost
from flytower.runtime.spec import ChildSpec
from flytower.runtime.system import System, open_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from flytower.actors.ledger.service import (
        Ledger,
    )


class Disk(MemoryStore):
    """A store with a record of each write; a write can be held up, and can fail."""

    def __init__(self, *, blocking: bool = True) -> None:
        super().__init__()
        self.blocking = blocking
        self.writes: list[tuple[str, list[str]]] = []
        self.threads: set[int] = set()
        self.failing = ""  # "put", "remove", "lost", "bug" or ""
        self.gate = threading.Event()
        self.gate.set()
        self.reading = threading.Event()
        self.reading.set()
        self.tried: Callable[[], object] = lambda: None

    def put(self, rows: Sequence[Row]) -> None:
        self._write("put", [f"{row.id}{row.seq}" for row in rows])
        super().put(rows)

    def remove(self, ids: Iterable[str]) -> None:
        wanted = list(ids)
        self._write("remove", wanted)
        super().remove(wanted)

    def _write(self, what: str, which: list[str]) -> None:
        assert self.gate.wait(timeout=30), "the test has forgotten to open the gate"
        self.threads.add(threading.get_ident())
        self.tried()
        if self.failing == "lost":
            raise LedgerLost("it belongs to another server")
        if self.failing == "bug":
            raise ZeroDivisionError
        if self.failing == what:
            raise LedgerError("the disk is full")
        self.writes.append((what, which))

    def rows(self, category: tuple[str, int] | None = None) -> Sequence[Row]:
        found = super().rows(category)
        assert self.reading.wait(timeout=30), "the test has forgotten to let the read go on"
        return found

    def kept(self) -> dict[str, int]:
        return {row.id: row.seq for row in self.rows()}


class Books:
    """What a ledger confirmed, in order."""

    def __init__(self, ledger: Ledger, disk: Disk) -> None:
        self._ledger, self._disk = ledger, disk
        self.entries: list[str] = []
        self._news = trio.Event()

    def record(self, task: str, seq: int) -> None:
        self._ledger.record(Row(task, seq, "spark", 0, "live"), partial(self._confirmed, task, seq))

    def _confirmed(self, task: str, seq: int, error: LedgerError | None) -> None:
        written = any(f"{task}{later}" in which for _, which in self._disk.writes for later in range(seq, seq + 9))
        removed = any(task in which for what, which in self._disk.writes if what == "remove")
        assert error is not None or written or removed, "it was confirmed and is not durable"
        self.entries.append(f"{task}{seq}" if error is None else f"{task}{seq}: {error}")
        self._news.set()

    async def until(self, count: int) -> None:
        while len(self.entries) < count:
            self._news = trio.Event()
            await self._news.wait()


@asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[System]:
    spec = ChildSpec("ledger", lambda: ledger)
    async with open_system([spec], rng=random.Random(0)) as system:  # noqa: S311 - seeded
        yield system


async def until(condition: Callable[[], bool]) -> None:
    """Let virtual time pass until something holds."""
    while not condition():  # noqa: ASYNC110 - nobody tells
        await trio.sleep(2.0)
