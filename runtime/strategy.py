"""What a supervisor does next, as pure decisions over the states of its children.

A supervisor does not carry out plans. After each event it looks at all its children and takes the steps that are
possible now, so that a crash in the middle of a restart, or a stop in the middle of a start, is nothing special.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Strategy(Enum):
    """Who shares the fate of a child that must be restarted."""

    ONE_FOR_ONE = "one_for_one"  # nobody
    ONE_FOR_ALL = "one_for_all"  # all siblings
    REST_FOR_ONE = "rest_for_one"  # the siblings that were started after it: they depend on it


class Phase(Enum):
    """What a child is doing."""

    DOWN = "down"
    PAUSED = "paused"  # down, and the pause before its restart is not over
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"  # told to stop

    @property
    def lives(self) -> bool:
        """Whether an incarnation runs."""
        return self in {Phase.STARTING, Phase.UP, Phase.STOPPING}


class Row:
    """What is decided on: one child.

    Args:
        phase: What it is doing.
        wanted: Whether it should run, now or after a restart.
        recycle: Whether it must stop, to be started again: true only while it is starting or up.
        settled: Whether it was up, or ended without being wanted again, since the supervisor started.
    """

    __slots__ = ("phase", "recycle", "settled", "wanted")

    def __init__(
        self,
        phase: Phase = Phase.DOWN,
        wanted: bool = True,  # noqa: FBT001, FBT002 - a row of a table
        recycle: bool = False,  # noqa: FBT001, FBT002
        settled: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        self.phase = phase
        self.wanted = wanted
        self.recycle = recycle
        self.settled = settled

    def __repr__(self) -> str:
        flags = f"wanted {self.wanted}, recycle {self.recycle}, settled {self.settled}"
        return f"<{type(self).__name__} {self.phase.name}, {flags}>"

    @property
    def leaving(self) -> bool:
        """Whether it lives and must stop, or is being stopped."""
        return self.phase.lives and (self.phase is Phase.STOPPING or self.recycle or not self.wanted)


def sharing(strategy: Strategy, index: int, count: int) -> list[int]:
    """Return which other children are stopped and restarted together with the one at `index`, in order."""
    if strategy is Strategy.ONE_FOR_ONE:
        return []
    first = 0 if strategy is Strategy.ONE_FOR_ALL else index
    return [i for i in range(first, count) if i != index]


def next_stop(rows: Sequence[Row]) -> int | None:
    """Return who is to be told to stop now: the last of those who must, when nobody else is stopping."""
    leaving = [i for i, row in enumerate(rows) if row.leaving]
    if not leaving or any(rows[i].phase is Phase.STOPPING for i in leaving):
        return None
    return leaving[-1]


def next_starts(strategy: Strategy, rows: Sequence[Row]) -> list[int]:
    """Return who is to be started now.

    The first start is in order, for every strategy: each child waits until all before it were up. Later, the children
    of one_for_one are independent. Those of the other strategies come back in order, each when all before it are up,
    and when all who must stop have stopped. One_for_all comes back as one: after the pause of whoever has one.
    """
    if strategy is not Strategy.ONE_FOR_ONE and any(row.leaving for row in rows):
        return []
    if strategy is Strategy.ONE_FOR_ALL and any(row.phase is Phase.PAUSED for row in rows):
        return []
    starts = []
    for i, row in enumerate(rows):
        if row.wanted and row.phase is Phase.DOWN:
            starts.append(i)
        if _holds_up(strategy, row):
            break
    return starts


def _holds_up(strategy: Strategy, row: Row) -> bool:
    """Say whether the children after this one must wait for it."""
    if not row.wanted:
        return False
    return not row.settled if strategy is Strategy.ONE_FOR_ONE else row.phase is not Phase.UP
