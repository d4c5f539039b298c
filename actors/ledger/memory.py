"""The store for tests and local runs: a dictionary. It outlives actors, not the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flytower.actors.ledger.row import Row


class MemoryStore:
    """Rows in a dictionary by id."""

    blocking = False

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def put(self, rows: Sequence[Row]) -> None:
        """Write all rows."""
        for row in rows:
            kept = self._rows.get(row.id)
            if kept is None or kept.seq < row.seq:
                self._rows[row.id] = row

    def remove(self, ids: Iterable[str]) -> None:
        """Take rows out."""
        for task in ids:
            self._rows.pop(task, None)

    def get(self, task: str) -> Row | None:
        """Return the row of a task, or None."""
        return self._rows.get(task)

    def rows(self) -> Sequence[Row]:
        """Return all rows."""
        return list(self._rows.values())

    def close(self) -> None:
        """Nothing to give back."""

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._rows)} rows>"
