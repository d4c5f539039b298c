"""The ledger's actor: what is forgotten stays forgotten, and what begins again counts from one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.service import (
    Ledger,
)
from tests.actors.ledger.disk import Books, Disk, running, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flytower.actors.ledger.store import LedgerError


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
