"""What a store must do. Stores are plain blocking code: the ledger service calls them from where that does no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flytower.actors.ledger.row import Row

Action = Literal["delete", "forget"]
"""What an operator can ask of one task."""


class LedgerError(Exception):
    """The store cannot do what it was asked: its disk, its database or its file is at fault, not the caller."""


class LedgerLost(LedgerError):  # noqa: N818 - it says what happened
    """Another server owns the store now. This one must stop: what it would write is no longer its to write."""


class Change(NamedTuple):
    """One line of a task's history.

    Args:
        seq: The number of the change.
        at: When it was, in Unix seconds.
        stage: The stage after it.
        phase: The phase last published then.
        wish: Whether somebody wanted it deleted by then.
        note: Why, in a few words.
    """

    seq: int
    at: float
    stage: str
    phase: int
    wish: bool
    note: str


class Command(NamedTuple):
    """What an operator wants of a task, left in the store for the server that owns it.

    Args:
        number: In the order in which they came.
        task: The id of the task.
        action: What is wanted.
        at: When, in Unix seconds.
    """

    number: int
    task: str
    action: Action
    at: float


class Store(Protocol):
    """Where rows are kept.

    Attributes:
        blocking: Whether calls may take longer than a few microseconds. Those of a store that does are made from worker
            threads, with many rows at a time; reads and writes then come from different threads.
    """

    blocking: bool

    def put(self, rows: Sequence[Row]) -> None:
        """Write all rows, or none; durable when it returns.

        A row that is no newer (by seq) than the one kept is skipped. Of several rows of one task, which come in order,
        the last is kept; each becomes a change of its history.

        Raises:
            LedgerError: Nothing was written.
        """

    def remove(self, ids: Iterable[str]) -> None:
        """Take rows out, with their history and what operators want of them; unknown ids are none of its business.

        Raises:
            LedgerError: Nothing was removed.
        """

    def get(self, task: str) -> Row | None:
        """Return the row of a task, or None."""

    def rows(self, category: tuple[str, int] | None = None) -> Sequence[Row]:
        """Return all rows, or those of one task category (name and version), in no particular order."""

    def history(self, task: str) -> Sequence[Change]:
        """Return what is known of a task's changes, in order of seq; of a long history, the middle may be missing."""

    def post(self, task: str, action: Action, at: float) -> None:
        """Leave a command of an operator; called from another process too.

        Raises:
            LedgerError: It was not left.
        """

    def commands(self) -> Sequence[Command]:
        """Return the commands that were left and not settled, in order."""

    def settle(self, numbers: Sequence[int]) -> None:
        """Take out commands that were carried out.

        Raises:
            LedgerError: They are still there.
        """

    def note_respite(self, category: tuple[str, int], until: float) -> None:
        """Write down until when the external system of a task category wants to be left alone, in Unix seconds.

        Raises:
            LedgerError: It was not written.
        """

    def respite(self, category: tuple[str, int]) -> float:
        """Return what was written last, 0.0 where nothing was."""

    def close(self) -> None:
        """Give back what it holds. Not called twice."""
