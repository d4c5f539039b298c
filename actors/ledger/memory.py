"""The store for tests and local runs: dictionaries. It outlives actors, not the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.actors.ledger.store import Action, Change, Command

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flytower.actors.ledger.row import Row


class MemoryStore:
    """Rows in a dictionary by id. It keeps the last change of each task only: nobody outside could read more."""

    blocking = False

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._commands: dict[int, Command] = {}
        self._posted = 0
        self._respites: dict[tuple[str, int], float] = {}

    def put(self, rows: Sequence[Row]) -> None:
        """Write all rows."""
        for row in rows:
            kept = self._rows.get(row.id)
            if kept is None or kept.seq < row.seq:
                self._rows[row.id] = row

    def remove(self, ids: Iterable[str]) -> None:
        """Take rows out."""
        gone = set(ids)
        for task in gone:
            self._rows.pop(task, None)
        if self._commands:
            self._commands = {number: each for number, each in self._commands.items() if each.task not in gone}

    def get(self, task: str) -> Row | None:
        """Return the row of a task, or None."""
        return self._rows.get(task)

    def rows(self, category: tuple[str, int] | None = None) -> Sequence[Row]:
        """Return all rows, or those of one task category."""
        if category is None:
            return list(self._rows.values())
        return [row for row in self._rows.values() if (row.category_name, row.category_version) == category]

    def history(self, task: str) -> Sequence[Change]:
        """Return the last change of a task."""
        row = self._rows.get(task)
        if row is None:
            return []
        return [Change(row.seq, row.changed_at, row.stage, row.phase, row.wish, row.note)]

    def post(self, task: str, action: Action, at: float) -> None:
        """Leave a command."""
        self._posted += 1
        self._commands[self._posted] = Command(self._posted, task, action, at)

    def commands(self) -> Sequence[Command]:
        """Return the commands that were not settled."""
        return list(self._commands.values())

    def settle(self, numbers: Sequence[int]) -> None:
        """Take out commands."""
        for number in numbers:
            self._commands.pop(number, None)

    def note_respite(self, category: tuple[str, int], until: float) -> None:
        """Write down until when an external system wants to be left alone."""
        self._respites[category] = until

    def respite(self, category: tuple[str, int]) -> float:
        """Return what was written last, 0.0 where nothing was."""
        return self._respites.get(category, 0.0)

    def close(self) -> None:
        """Nothing to give back."""

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._rows)} rows>"
