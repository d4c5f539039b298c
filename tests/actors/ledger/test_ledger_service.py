"""The ledger's actor: what it confirms is durable, in order, and many rows share one commit."""

from __future__ import annotations

import threading
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from flytower.actors.ledger.row import Row
from flytower.actors.ledger.service import (
    COMMIT_ROWS,
    RETRY_MAXIMUM,
    RETRY_MINIMUM,
    SLOW_SECONDS,
    Ledger,
)
from flytower.runtime.errors import SystemFailed
from tests.actors.ledger.disk import Books, Disk, running, until

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from trio.testing import MockClock

    from flytower.runtime.context import Context


GRACE = 5.0
"""Seconds that a supervisor gives it to stop."""


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


async def test_what_a_commit_brings_about_in_the_next_turn_shares_the_next_one(
    ledger: Ledger, disk: Disk, books: Books
) -> None:
    durable = trio.Event()

    async def follow() -> None:
        await durable.wait()
        books.record("a", 2)

    disk.gate.clear()
    async with running(ledger), trio.open_nursery() as nursery:
        ledger.record(Row("a", 1, "spark", 0, "live"), lambda _: durable.set())
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        books.record("b", 1)
        disk.gate.set()
        await books.until(2)
    assert [which for _, which in disk.writes] == [["a1"], ["b1", "a2"]]


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
