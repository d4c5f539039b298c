"""The ledger's actor: what it confirms is durable, in order, and many rows share one commit."""

from __future__ import annotations

import random
import threading
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.service import (
    COMMIT_ROWS,
    RETRY_MAXIMUM,
    RETRY_MINIMUM,
    SLOW_SECONDS,
    Ledger,
)
from flytower.actors.ledger.store import LedgerError, LedgerLost
from flytower.runtime.errors import SystemFailed
from flytower.runtime.spec import ChildSpec
from flytower.runtime.system import System, open_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, MutableMapping, Sequence

    from trio.testing import MockClock

    from flytower.runtime.context import Context

GRACE = 5.0
"""Seconds that a supervisor gives it to stop."""


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


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[System]:
    spec = ChildSpec("ledger", lambda: ledger)
    async with open_system([spec], rng=random.Random(0)) as system:  # noqa: S311 - seeded
        yield system


async def until(condition: Callable[[], bool]) -> None:
    """Let virtual time pass until something holds."""
    while not condition():  # noqa: ASYNC110 - nobody tells
        await trio.sleep(2.0)


@pytest.fixture
def patient_clock(autojump_clock: MockClock) -> MockClock:
    """A clock that jumps only when the store's thread, which lives in real time, has had its turn."""
    autojump_clock.autojump_threshold = 0.05
    return autojump_clock


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


async def test_every_change_of_a_task_reaches_the_store_in_order_for_its_history(
    ledger: Ledger, disk: Disk, books: Books
) -> None:
    for seq in (1, 2, 3):
        books.record("a", seq)
    async with running(ledger):
        await books.until(3)
    assert disk.writes == [("put", ["a1", "a2", "a3"])]


# ---- a store that fails ----------------------------------------------------------------------------------------


async def test_a_commit_that_fails_is_told_to_all_in_it_and_is_tried_again_by_the_ledger_alone(
    ledger: Ledger, disk: Disk, books: Books, patient_clock: object
) -> None:
    disk.failing = "put"
    async with running(ledger):
        books.record("a", 1)
        books.record("b", 1)
        await books.until(2)
        assert books.entries == ["a1: the disk is full", "b1: the disk is full"]
        disk.failing = ""
        await until(lambda: ledger.trouble is None)
        books.record("a", 2)
        await books.until(3)
    assert books.entries[2:] == ["a2"]
    assert disk.kept() == {"a": 2, "b": 1}


async def test_while_it_fails_whoever_hands_in_a_row_is_told_at_once_and_the_row_is_kept(
    ledger: Ledger, disk: Disk, books: Books, patient_clock: object
) -> None:
    disk.failing = "put"
    async with running(ledger):
        books.record("a", 1)
        await books.until(1)
        books.record("c", 7)
        assert books.entries[1:] == ["c7: the disk is full"], "in the same breath"
        disk.failing = ""
        await until(lambda: ledger.trouble is None)
    assert disk.kept() == {"a": 1, "c": 7}


async def test_a_failing_store_is_tried_ever_more_rarely_but_never_given_up(
    ledger: Ledger, disk: Disk, books: Books, patient_clock: object
) -> None:
    tries: list[float] = []
    disk.failing = "put"
    disk.tried = lambda: tries.append(trio.from_thread.run_sync(trio.current_time))
    async with running(ledger):
        books.record("a", 1)
        await until(lambda: len(tries) >= 9)
        disk.failing = ""
    pauses = [round(later - earlier, 3) for earlier, later in pairwise(tries)]
    assert pauses[0] == RETRY_MINIMUM
    assert pauses == sorted(pauses)
    assert pauses[-2:] == [RETRY_MAXIMUM] * 2


async def test_a_long_outage_keeps_one_row_of_each_task(
    ledger: Ledger, disk: Disk, books: Books, patient_clock: object
) -> None:
    disk.failing = "put"
    async with running(ledger):
        for seq in range(1, 15):
            books.record("a", seq)
            await trio.sleep(1)
        assert len(ledger._again) + len(ledger._queue) <= RETRY_MAXIMUM + 2
        disk.failing = ""
        await until(lambda: ledger.trouble is None)
    assert disk.kept() == {"a": 14}


async def test_a_commit_that_takes_too_long_counts_as_failing_until_it_is_over(
    ledger: Ledger, disk: Disk, books: Books, mock_clock: MockClock
) -> None:
    disk.gate.clear()
    async with running(ledger):
        books.record("a", 1)
        await trio.testing.wait_all_tasks_blocked()
        books.record("b", 1)
        mock_clock.jump(SLOW_SECONDS / 2)
        await trio.testing.wait_all_tasks_blocked()
        assert books.entries == []
        mock_clock.jump(SLOW_SECONDS / 2)
        await trio.testing.wait_all_tasks_blocked()
        silent = f"the store has not answered for {SLOW_SECONDS:g} s"
        assert books.entries == [f"a1: {silent}", f"b1: {silent}"]
        books.record("c", 1)
        assert books.entries[2:] == [f"c1: {silent}"]
        disk.gate.set()
        while ledger.trouble is not None or ledger._queue:
            await trio.lowlevel.checkpoint()
    assert disk.kept() == {"a": 1, "b": 1, "c": 1}
    assert len(books.entries) == 3, "nobody is told twice"


async def test_a_store_that_raises_what_it_must_not_is_contained(
    ledger: Ledger, disk: Disk, books: Books, patient_clock: object, logs: list[MutableMapping[str, Any]]
) -> None:
    disk.failing = "bug"
    async with running(ledger):
        books.record("a", 1)
        await books.until(1)
        disk.failing = ""
        await until(lambda: ledger.trouble is None)
    assert books.entries == ["a1: ZeroDivisionError in the store; see the server's log"]
    assert "must not raise" in logs[0]["event"]


async def test_a_server_whose_ledger_belongs_to_another_ends(ledger: Ledger, disk: Disk, books: Books) -> None:
    disk.failing = "lost"
    with pytest.raises(SystemFailed):  # noqa: PT012 - the block is what is ended
        async with running(ledger):
            books.record("a", 1)
            await trio.sleep_forever()
    assert books.entries[0].startswith("a1: ")


async def test_a_store_that_never_answers_holds_up_the_end_for_a_bounded_time(
    ledger: Ledger, disk: Disk, books: Books, mock_clock: MockClock
) -> None:
    disk.gate.clear()
    context = cast("Context", SimpleNamespace(ready=lambda: None, stop_requested=trio.Event(), grace=GRACE))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.run, context)
        books.record("a", 1)
        await trio.testing.wait_all_tasks_blocked()
        context.stop_requested.set()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(GRACE)
    assert books.entries == ["a1: the store has not answered before the server stopped"]
    disk.gate.set()


async def test_every_commit_of_a_store_that_blocks_is_observed(disk: Disk) -> None:
    seen: list[tuple[int, bool]] = []
    ledger = Ledger(disk, lambda rows, _seconds, error: seen.append((rows, error is None)))
    books = Books(ledger, disk)
    books.record("a", 1)
    books.record("b", 1)
    async with running(ledger):
        await books.until(2)
    assert seen == [(2, True)]


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
    context = cast("Context", SimpleNamespace(ready=lambda: None, stop_requested=trio.Event(), grace=GRACE))
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


async def test_a_removal_that_fails_is_tried_again(
    ledger: Ledger, disk: Disk, books: Books, patient_clock: object
) -> None:
    """Nobody else would: and the row would bring a task back that was refused."""
    disk.failing = "remove"
    async with running(ledger):
        books.record("a", 1)
        await books.until(1)
        ledger.forget("a")
        books.record("b", 1)
        await books.until(2)
        assert (disk.kept(), await ledger.rows()) == ({"a": 1}, [])
        disk.failing = ""
        await until(lambda: ledger.trouble is None)
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
        assert [stored.row.id for stored in await ledger.rows()] == ["b"]  # it waits
        await trio.testing.wait_all_tasks_blocked()
        assert [stored.row.id for stored in await ledger.rows()] == ["b"]  # it is being written
        disk.gate.set()
    assert disk.kept() == {"b": 1}


# ---- who begins again ------------------------------------------------------------------------------------------


async def test_a_row_that_is_on_its_way_is_listed_instead_of_the_older_one_and_known_not_to_be_durable(
    ledger: Ledger, disk: Disk, books: Books
) -> None:
    MemoryStore.put(disk, [Row("a", 1, "spark", 0, "live"), Row("b", 1, "spark", 0, "live")])
    books.record("a", 2)
    books.record("a", 3)
    found = sorted(await ledger.rows(), key=lambda stored: stored.row.id)
    assert found == [(Row("a", 3, "spark", 0, "live"), False), (Row("b", 1, "spark", 0, "live"), True)]


async def test_a_task_that_is_forgotten_while_the_store_is_read_is_not_listed(ledger: Ledger, disk: Disk) -> None:
    MemoryStore.put(disk, [Row("a", 1, "spark", 0, "live"), Row("b", 1, "spark", 0, "live")])
    disk.reading.clear()
    async with trio.open_nursery() as nursery:
        found: list[Any] = []

        async def read() -> None:
            found.extend(await ledger.rows())

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        ledger.forget("a")
        disk.reading.set()
    assert [stored.row.id for stored in found] == ["b"]


async def test_the_rows_of_a_category_are_those_of_its_name_and_version(ledger: Ledger, disk: Disk) -> None:
    MemoryStore.put(disk, [Row("a", 1, "spark", 0, "live"), Row("b", 1, "spark", 1, "live")])
    assert [stored.row.id for stored in await ledger.rows(("spark", 1))] == ["b"]


async def test_what_operators_ask_is_read_and_settled_beside_the_writer(ledger: Ledger, disk: Disk) -> None:
    MemoryStore.put(disk, [Row("a", 1, "spark", 0, "live")])
    disk.post("a", "delete", 1.0)
    [command] = await ledger.commands()
    assert (command.task, await ledger.row("a"), await ledger.row("b")) == ("a", disk.get("a"), None)
    await ledger.settle([command.number])
    assert await ledger.commands() == []


# ---- any order -------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from(["", "", "put", "remove"])), max_size=30)
)
def test_whatever_fails_in_between_the_store_ends_as_if_all_was_done_in_order(
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
            ledger._take()
            ledger._done(ledger._write(ledger._writing), 0.0)
    assert disk.kept() == {task: life["recorded"] for task, life in lives.items()}
    for task, life in lives.items():
        assert life["confirmed"] <= life["recorded"], task


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
