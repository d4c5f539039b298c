"""What a store must do. Stores are plain blocking code: the ledger service calls them from where that does no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flytower.actors.ledger.row import Row


class LedgerError(Exception):
    """The store cannot do what it was asked: its disk, its database or its file is at fault, not the caller."""


class Store(Protocol):
    """Where rows are kept.

    Attributes:
        blocking: Whether `put` and `remove` may take longer than a few microseconds. Those that do are called from a
            worker thread, with many rows at a time.
    """

    blocking: bool

    def put(self, rows: Sequence[Row]) -> None:
        """Write all rows, or none; durable when it returns. A row older (by seq) than the one kept is skipped.

        Raises:
            LedgerError: Nothing was written.
        """

    def remove(self, ids: Iterable[str]) -> None:
        """Take rows out; ids that are not there are none of its business.

        Raises:
            LedgerError: Nothing was removed.
        """

    def get(self, task: str) -> Row | None:
        """Return the row of a task, or None."""

    def rows(self) -> Sequence[Row]:
        """Return all rows, in no particular order."""

    def close(self) -> None:
        """Give back what it holds. Not called twice."""
