"""The store in memory keeps the newest row of each task, in the order of `seq` and of nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.row import Row


def row(task: str, seq: int, stage: str = "live") -> Row:
    return Row(task, seq, "spark", 0, stage)


def test_what_is_put_can_be_got() -> None:
    store = MemoryStore()
    store.put([row("a", 1), row("b", 1)])
    assert store.get("a") == row("a", 1)
    assert sorted(store.rows(), key=lambda kept: kept.id) == [row("a", 1), row("b", 1)]
    assert store.get("c") is None
    assert repr(store) == "<MemoryStore 2 rows>"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.text(max_size=2))))
def test_the_first_row_of_the_highest_seq_wins_in_whatever_order_they_come(rows: list[tuple[str, int, str]]) -> None:
    store = MemoryStore()
    expected: dict[str, Row] = {}
    for task, seq, stage in rows:
        store.put([row(task, seq, stage)])
        if task not in expected or expected[task].seq < seq:
            expected[task] = row(task, seq, stage)
    assert {kept.id: kept for kept in store.rows()} == expected


def test_what_is_removed_is_gone_and_may_begin_again_from_one() -> None:
    store = MemoryStore()
    store.put([row("a", 9)])
    store.remove(["a", "never there"])
    assert store.get("a") is None
    store.put([row("a", 1)])
    assert store.get("a") == row("a", 1)


def test_a_list_of_rows_does_not_change_with_the_store() -> None:
    store = MemoryStore()
    store.put([row("a", 1)])
    before = store.rows()
    store.remove(["a"])
    assert list(before) == [row("a", 1)]
    store.close()
