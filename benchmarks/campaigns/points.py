"""Where a server is killed: the points around the durable steps of a create and of a delete.

A file says which point comes next; whoever reaches it takes the file away, and kills the process it runs in. So one
order kills one server, once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from flytower.actors.ledger.ownership import OwnedStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flytower.actors.ledger.row import Row

ORDER = "CAMPAIGN_KILL"
"""The variable that names the file."""

CREATE_POINTS = (
    "before intent",
    "after intent",
    "before call",
    "after call",
    "before result",
    "after result",  # and before the reply
    "after reply",  # the caller orders that one
)

DELETE_POINTS = (
    "before wish",
    "after wish",  # and before the reply
    "after delete reply",  # the caller orders that one
    "before delete",
    "after delete",
    "before gone",
    "after gone",
)


def order(folder: Path, point: str, task_type: str) -> None:
    """Have the server die at a point."""
    (folder / "kill").write_text(f"{point}|{task_type}")


def die_at(point: str, task_type: str) -> None:
    """Die, if this is where."""
    path = Path(os.environ.get(ORDER, "/nonexistent"))
    if path.exists() and path.read_text() == f"{point}|{task_type}":
        path.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


class MortalStore(OwnedStore):
    """The real store, that dies before or after it has written what it is told to."""

    def put(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        steps = [(step, row.category_name) for row in rows if (step := _step_of(row))]
        for step, task_type in steps:
            die_at(f"before {step}", task_type)
        super().put(rows)
        for step, task_type in steps:
            die_at(f"after {step}", task_type)


def _step_of(row: Row) -> str | None:
    if row.stage == "reserved" and row.seq == 1:
        return "intent"
    if row.stage == "creating" and row.meta is not None:
        return "result"
    if row.stage == "deleting" and row.wish:
        return "wish"
    return "gone" if row.stage == "deleted" else None
