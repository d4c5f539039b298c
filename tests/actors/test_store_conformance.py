"""Every store obeys the public rules, and every rule notices a store that does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flytower.actors.ledger import conformance
from flytower.actors.ledger.conformance import ConformanceError, Rule, check_store, rules
from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import Change, LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path


@pytest.mark.parametrize("rule", rules(durable=False), ids=lambda rule: rule.__name__)
def test_the_store_in_memory_obeys(rule: Rule) -> None:
    rule(MemoryStore)


@pytest.mark.parametrize("rule", rules(durable=True), ids=lambda rule: rule.__name__)
def test_the_store_in_a_sqlite_file_obeys(rule: Rule, tmp_path: Path) -> None:
    rule(lambda: SqlStore(f"sqlite:///{tmp_path}/ledger.db"))


def test_the_whole_suite_runs_twice_over_one_file_that_has_rows_of_others(tmp_path: Path) -> None:
    def open_store() -> SqlStore:
        return SqlStore(f"sqlite:///{tmp_path}/ledger.db")

    check_store(open_store, durable=True)
    check_store(open_store, durable=True)


def test_a_store_that_is_not_durable_is_not_asked_to_be() -> None:
    check_store(MemoryStore, durable=False)
    with pytest.raises(ConformanceError, match="outlives close"):
        check_store(MemoryStore, durable=True)


class Forgetful(MemoryStore):
    def get(self, task: str) -> Row | None:
        return None


class Blind(MemoryStore):
    def rows(self, category: tuple[str, int] | None = None) -> Sequence[Row]:
        return []


class Clinging(MemoryStore):
    def remove(self, ids: Iterable[str]) -> None:
        return


class Strict(MemoryStore):
    def put(self, rows: Sequence[Row]) -> None:
        assert rows, "nothing to put"
        super().put(rows)


class LastWins(MemoryStore):
    def put(self, rows: Sequence[Row]) -> None:
        self._rows.update({row.id: row for row in rows})


class LastOfThePutWins(MemoryStore):
    def put(self, rows: Sequence[Row]) -> None:
        super().put(list({row.id: row for row in rows}.values()))


class OneByOne(MemoryStore):
    def put(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.seq >= conformance.TOO_LARGE_SEQ:
                raise LedgerError("too large")
            super().put([row])


class Untranslated(MemoryStore):
    def put(self, rows: Sequence[Row]) -> None:
        if any(row.seq >= conformance.TOO_LARGE_SEQ for row in rows):
            raise OverflowError("too large")
        super().put(rows)


class Truncating(MemoryStore):
    def put(self, rows: Sequence[Row]) -> None:
        super().put([Row(row.id, row.seq, row.category_name, 0, row.stage) for row in rows])


class Short(MemoryStore):
    def put(self, rows: Sequence[Row]) -> None:
        super().put(rows[:500])


class AnyCategory(MemoryStore):
    def rows(self, category: tuple[str, int] | None = None) -> Sequence[Row]:
        return super().rows()


class Unremembering(MemoryStore):
    def history(self, task: str) -> Sequence[Change]:
        return [change._replace(note="") for change in super().history(task)]


class Deaf(MemoryStore):
    def settle(self, numbers: Sequence[int]) -> None:
        return


class Versionless(MemoryStore):
    def note_respite(self, category: tuple[str, int], until: float) -> None:
        super().note_respite((category[0], 0), until)

    def respite(self, category: tuple[str, int]) -> float:
        return super().respite((category[0], 0))


class Hoarder(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._changes: dict[str, list[Change]] = {}

    def put(self, rows: Sequence[Row]) -> None:
        super().put(rows)
        for row in rows:
            change = Change(row.seq, row.changed_at, row.stage, row.phase, row.wish, row.note)
            self._changes.setdefault(row.id, []).append(change)

    def history(self, task: str) -> Sequence[Change]:
        return self._changes.get(task, [])


class LateWriter(MemoryStore):
    """Writes when it is closed, and forgets what comes when somebody else is there."""

    file: dict[str, Row]

    def __init__(self) -> None:
        super().__init__()
        self._rows = dict(self.file)

    def close(self) -> None:
        self.file.update(self._rows)


BROKEN: list[tuple[Callable[[], MemoryStore], Rule, str]] = [
    (Forgetful, conformance.what_is_put_can_be_got, "get returns the row"),
    (Blind, conformance.what_is_put_can_be_got, "rows returns all"),
    (Clinging, conformance.what_is_removed_is_gone, "a removed row is gone"),
    (LastWins, conformance.an_older_row_never_replaces_a_newer, "lower or the same seq"),
    (LastOfThePutWins, conformance.an_older_row_in_the_same_put_is_skipped, "highest seq wins"),
    (OneByOne, conformance.a_put_writes_all_or_nothing, "all of its rows, or raises and none"),
    (Untranslated, conformance.a_put_writes_all_or_nothing, "LedgerError and nothing else"),
    (Truncating, conformance.values_come_back_exactly, "come back exactly"),
    (Short, conformance.a_thousand_rows_fit_one_put, "as many rows as it is given"),
    (Blind, conformance.threads_may_put_at_once, "two threads are both written"),
    (AnyCategory, conformance.rows_of_a_category, "of its name and version"),
    (Unremembering, conformance.a_history_ends_with_the_row, "what the row says"),
    (Deaf, conformance.commands_wait_until_they_are_settled, "a settled command is gone"),
    (Versionless, conformance.respites_are_kept_by_category, "of each category"),
    (MemoryStore, conformance.respites_outlive_close, "a respite outlives close"),
    (MemoryStore, conformance.every_change_is_remembered, "every change"),
    (Hoarder, conformance.every_change_is_remembered, "without end"),
    (MemoryStore, conformance.rows_outlive_close, "outlives close"),
    (type("Late", (LateWriter,), {"file": {}}), conformance.rows_are_durable_before_close, "when put returns"),
]


@pytest.mark.parametrize(("store", "rule", "message"), BROKEN)
def test_a_broken_rule_is_named(store: Callable[[], MemoryStore], rule: Rule, message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        rule(store)


def test_a_store_that_chokes_on_nothing_breaks_a_rule() -> None:
    with pytest.raises(AssertionError, match="nothing to put"):
        conformance.nothing_is_nothing(Strict)
