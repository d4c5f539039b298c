"""A count of the tasks of a node, one by one, for comparison with the counts that are kept."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flytower.actors.task import Stage

if TYPE_CHECKING:
    from flytower.actors.directory import Directory


def recount(directory: Directory) -> Counter[tuple[str, str]]:
    """Count the tasks by type and phase."""
    words: Counter[tuple[str, str]] = Counter()
    for entry in directory.entries():
        phase = entry.phase.name if entry.phase is not None else "CREATING"
        words[entry.category.name, "UNKNOWN" if entry.state.stage is Stage.UNKNOWN else str(phase)] += 1
    return words
