"""What one commit of the ledger writes, as pure functions of what was handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flytower.actors.ledger.row import Row
    from flytower.actors.ledger.store import LedgerError

Confirm = Callable[["LedgerError | None"], None]
"""Called once for each row: with None when it is durable, with the error when it is not."""


class Entry(NamedTuple):
    """Something to be written.

    Args:
        row: A row to write, or the id of one to remove.
        confirm: Whom to tell when it is durable, if anybody.
    """

    row: Row | str
    confirm: Confirm | None

    @property
    def task(self) -> str:
        """The id of the task that it is about."""
        return self.row if isinstance(self.row, str) else self.row.id


def net(batch: Iterable[Entry]) -> tuple[list[Row], list[str]]:
    """Return what a batch comes to: the rows to write, in order, and the ids to remove before that.

    A task that was forgotten may begin anew under the same id and count from 1: what is left of the old one has to be
    out of its way.
    """
    rows: list[tuple[int, Row]] = []
    removed: dict[str, int] = {}  # id -> where in the batch it was removed last
    for index, entry in enumerate(batch):
        if isinstance(entry.row, str):
            removed[entry.row] = index
        else:
            rows.append((index, entry.row))
    return [row for index, row in rows if index > removed.get(row.id, -1)], list(removed)


def compacted(batch: Iterable[Entry]) -> list[Entry]:
    """Return the least that has to be tried again of a batch that was not written, with nobody waiting for it.

    Of several rows of one task the last says it all, so that a long outage costs one row for each task.
    """
    rows, removed = net(batch)
    last = {row.id: row for row in rows}
    return [*(Entry(task, None) for task in removed), *(Entry(row, None) for row in last.values())]
