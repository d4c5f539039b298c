"""The ledger's actor: what it confirms is durable, in order, and many rows share one commit."""

from __future__ import annotations

import random
import threading
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.service import COMMIT_ROWS, Ledger
from flytower.actors.ledger.store import LedgerError
from flytower.runtime.spec import ChildSpec
from flytower.runtime.system import System, open_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, MutableMapping, Sequence

    from flytower.runtime.context import Context


class Disk(MemoryStore):
    """A store with a record of each write; a write can be held up, and can fail."""

    def __init__(self, *, blocking: bool = True) -> None:
        super().__init__()
        self.blocking = blocking
        self.writes: list[tuple[str, list[str]]] = []
        self.threads: set[int] = set()
        self.failing = ""  # "put", "remove" or ""
        self.gate = threading.Event()
        self.gate.set()

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
        if self.failing == what:
            raise LedgerError("the disk is full")
        self.writes.append((what, which))

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


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[System]:
    spec = ChildSpec("ledger", lambda: ledger)
    async with open_system([spec], rng=random.Random(0)) as system:  # noqa: S311 - seeded
        yield system


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def ledger(disk: Disk) -> Ledger:
    return Ledger(disk)


@pytest.fixture
def books(ledger: Ledger, disk: Disk) -> Books:
    return Books(ledger, disk)


# ---- a store that does not block -------------------------------------------------------------------------------


def test_a_quick_store_is_written_and_confirmed_in_the_same_breath() -> None:
    disk = Disk(blocking=False)
    ledger = Ledger(disk)
    books = Books(ledger, disk)
    books.record("a", 1)
    assert books.entries == ["a1"]
    ledger.forget("a")
    assert disk.kept() == {}


def test_a_quick_store_that_fails_is_confirmed_with_the_error(logs: list[MutableMapping[str, Any]]) -> None:
    disk = Disk(blocking=False)
    disk.failing = "put"
    books = Books(Ledger(disk), disk)
    books.record("a", 1)
    assert books.entries == ["a1: the disk is full"]
    assert logs[0]["event"] == "the ledger cannot write"


# ---- a store that blocks ---------------------------------------------------------------------------------------


async def test_a_slow_store_is_written_from_another_thread_and_confirmed_when_it_is_durable(
    ledger: Ledger, disk: Disk, books: Books
) -> None:
    disk.gate.clear()
    async with running(ledger):
        books.record("a", 1)
        await trio.lowlevel.checkpoint()
        assert books.entries == []
        disk.gate.set()
        await books.until(1)
    assert books.entries == ["a1"]
    assert threading.get_ident() not in disk.threads


async def test_what_comes_in_during_a_commit_shares_the_next_one(ledger: Ledger, disk: Disk, books: Books) -> None:
    disk.gate.clear()
    async with running(ledger):
        books.record("first", 1)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(200):
            books.record(f"t{number}-", 1)
        disk.gate.set()
        await books.until(201)
    assert [len(which) for _, which in disk.writes] == [1, 200]


async def test_a_commit_is_bounded_so_that_nobody_waits_long(ledger: Ledger, disk: Disk, books: Books) -> None:
    for number in range(2 * COMMIT_ROWS + 1):
        books.record(f"t{number}-", 1)
    async with running(ledger):
        await books.until(2 * COMMIT_ROWS + 1)
    assert [len(which) for _, which in disk.writes] == [COMMIT_ROWS, COMMIT_ROWS, 1]


async def test_rows_are_confirmed_in_the_order_in_which_they_came(ledger: Ledger, books: Books) -> None:
    expected = [f"{task}{seq}" for seq in (1, 2, 3) for task in "ba"]
    for seq in (1, 2, 3):
        for task in "ba":
            books.record(task, seq)
    async with running(ledger):
        await books.until(6)
    assert books.entries == expected


async def test_of_several_rows_of_one_task_only_the_last_is_written(ledger: Ledger, disk: Disk, books: Books) -> None:
    for seq in (1, 2, 3):
        books.record("a", seq)
    async with running(ledger):
        await books.until(3)
    assert disk.writes == [("put", ["a3"])]


async def test_a_commit_that_fails_is_told_to_all_in_it_and_the_next_one_is_tried(
    ledger: Ledger, disk: Disk, books: Books
) -> None:
    disk.failing = "put"
    async with running(ledger):
        books.record("a", 1)
        books.record("b", 1)
        await books.until(2)
        disk.failing = ""
        books.record("a", 2)
        await books.until(3)
    assert books.entries == ["a1: the disk is full", "b1: the disk is full", "a2"]
    assert disk.kept() == {"a": 2}


async def test_what_is_queued_at_the_stop_is_written_before_it_ends(ledger: Ledger, disk: Disk, books: Books) -> None:
    async with running(ledger) as system:
        await trio.testing.wait_all_tasks_blocked()
        disk.gate.clear()
        books.record("a", 1)
        await trio.testing.wait_all_tasks_blocked()
        books.record("b", 1)
        ledger.forget("c")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.stop)
            await trio.testing.wait_all_tasks_blocked()
            disk.gate.set()
    assert books.entries == ["a1", "b1"]
    assert disk.writes == [("put", ["a1"]), ("remove", ["c"]), ("put", ["b1"])]


async def test_a_ledger_that_is_cancelled_still_writes_what_is_queued(ledger: Ledger, disk: Disk, books: Books) -> None:
    books.record("a", 1)
    context = cast("Context", SimpleNamespace(ready=lambda: None, stop_requested=trio.Event()))
    with trio.CancelScope() as scope:
        scope.cancel()
        await ledger.run(context)
    assert (books.entries, disk.kept()) == (["a1"], {"a": 1})


# ---- forgetting ------------------------------------------------------------------------------------------------


async def run_batch(ledger: Ledger, disk: Disk, steps: Sequence[tuple[str, int]]) -> Books:
    books = Books(ledger, disk)
    for task, seq in steps:
        if seq:
            books.record(task, seq)
        else:
            ledger.forget(task)
    books.record("last", 1)
    async with running(ledger):
        await books.until(1 + sum(seq > 0 for _, seq in steps))
    return books


async def test_a_task_that_is_forgotten_after_its_last_row_stays_forgotten(ledger: Ledger, disk: Disk) -> None:
    await run_batch(ledger, disk, [("a", 1), ("a", 2), ("a", 0)])
    assert disk.kept() == {"last": 1}


async def test_a_task_that_begins_anew_in_the_same_commit_is_not_forgotten_with_the_old_one(
    ledger: Ledger, disk: Disk
) -> None:
    """A create that was refused and asked for again: the same id, and its changes are counted from one."""
    Books(ledger, disk)
    MemoryStore.put(disk, [Row("a", 5, "spark", 0, "creating")])
    books = await run_batch(ledger, disk, [("a", 6), ("a", 0), ("a", 1)])
    assert disk.kept() == {"a": 1, "last": 1}
    assert books.entries == ["a6", "a1", "last1"]


async def test_a_removal_that_fails_is_tried_again_with_the_next_commit(
    ledger: Ledger, disk: Disk, books: Books
) -> None:
    """Nobody else would: and the row would bring a task back that was refused."""
    disk.failing = "remove"
    async with running(ledger):
        books.record("a", 1)
        await books.until(1)
        ledger.forget("a")
        books.record("b", 1)
        await books.until(2)
        assert (disk.kept(), [row.id for row in ledger.rows()]) == ({"a": 1}, [])
        disk.failing = ""
        books.record("b", 2)
        await books.until(3)
    assert disk.kept() == {"b": 2}


async def test_a_forgotten_task_is_not_listed_although_the_store_still_has_it(
    ledger: Ledger, disk: Disk, books: Books
) -> None:
    """Or it would be taken for an orphan, and brought back."""
    async with running(ledger):
        books.record("a", 1)
        books.record("b", 1)
        await books.until(2)
        disk.gate.clear()
        ledger.forget("a")
        assert [row.id for row in ledger.rows()] == ["b"]  # it waits
        await trio.testing.wait_all_tasks_blocked()
        assert [row.id for row in ledger.rows()] == ["b"]  # it is being written
        disk.gate.set()
    assert disk.kept() == {"b": 1}


# ---- who begins again ------------------------------------------------------------------------------------------


def test_the_latest_row_is_the_one_on_its_way_and_known_not_to_be_durable(
    ledger: Ledger, disk: Disk, books: Books
) -> None:
    assert ledger.latest("a") == (None, True)
    MemoryStore.put(disk, [Row("a", 1, "spark", 0, "live")])
    assert ledger.latest("a") == (Row("a", 1, "spark", 0, "live"), True)
    books.record("a", 2)
    books.record("b", 1)
    books.record("a", 3)
    assert ledger.latest("a") == (Row("a", 3, "spark", 0, "live"), False)
    assert ledger.latest("b") == (Row("b", 1, "spark", 0, "live"), False)


# ---- any order -------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from(["", "", "put", "remove"])), max_size=30)
)
def test_whatever_fails_the_store_ends_as_if_all_that_was_confirmed_was_done_in_order(
    steps: list[tuple[str, bool, str]],
) -> None:
    """Each step records or forgets a task, while the disk is well or fails; batches are cut where failures begin."""
    disk = Disk(blocking=True)
    ledger = Ledger(disk)
    lives: dict[str, dict[str, int]] = {}  # of each task that is not forgotten: what was handed in, and confirmed
    for task, forget, failing in [*steps, ("z", False, "")]:
        if forget:
            ledger.forget(task)
            lives.pop(task, None)
        else:
            life = lives.setdefault(task, {"recorded": 0, "confirmed": 0})
            life["recorded"] += 1
            ledger.record(Row(task, life["recorded"], "spark", 0, "live"), partial(_note, life, life["recorded"]))
        if failing or task == "z":
            disk.failing = failing
            batch = ledger._take()
            ledger._confirm(batch, ledger._write(batch))
    assert disk.kept() == {task: life["confirmed"] for task, life in lives.items() if life["confirmed"]}


def _note(life: dict[str, int], seq: int, error: LedgerError | None) -> None:
    if error is None:
        life["confirmed"] = seq


async def test_the_tree_shows_how_much_waits_and_how_much_was_committed(ledger: Ledger, books: Books) -> None:
    books.record("a", 1)
    assert (ledger.inspect("/ledger", 0.0).mailbox, ledger.inspect("/ledger", 0.0).state) == (1, "0 commits")
    async with running(ledger) as system:
        await books.until(1)
        node = next(node for node in system.tree().walk() if node.path.endswith("/ledger"))
    assert (node.mailbox, node.state) == (0, "1 commits")
