"""What stands for an external system, and the record of what it was asked."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOKS = 3
"""At this look a job is done."""

ENDLESS = "endless"
"""A job that has this word in its definition, whatever that is, runs until it is cancelled."""


class Place(NamedTuple):
    """What a counterpart is given.

    Args:
        folder: A folder of its own.
        python: The Python of the plugin's environment.
    """

    folder: Path
    python: Path


class Counterpart(NamedTuple):
    """One that runs.

    Args:
        variables: The environment that leads a server there.
        record: Returns what it was asked that changes something, in order: "create 1", "cancel 1".
    """

    variables: dict[str, str]
    record: Callable[[], list[str]]


class Jobs:
    """The jobs of an external system."""

    def __init__(self) -> None:
        self.record: list[str] = []
        self._names: list[str] = []
        self._endless: set[str] = set()
        self._cancelled: set[str] = set()
        self._looks: Counter[str] = Counter()

    def create(self, definition: str, name: str = "") -> str:
        """Start a job; return its name, which is its number unless it is given."""
        self._names.append(name or str(len(self._names) + 1))
        if ENDLESS in definition:
            self._endless.add(self._names[-1])
        self._note("create", self._names[-1])
        return self._names[-1]

    def cancel(self, name: str) -> None:
        """End a job."""
        self._cancelled.add(name)
        self._note("cancel", name)

    def state(self, name: str) -> str:
        """Look at a job: it is unknown, running, done or cancelled."""
        if name not in self._names:
            return "unknown"
        self._looks[name] += 1
        if name in self._cancelled:
            return "cancelled"
        return "running" if name in self._endless or self._looks[name] < LOOKS else "done"

    def _note(self, what: str, name: str) -> None:
        self.record.append(f"{what} {self._names.index(name) + 1}")
