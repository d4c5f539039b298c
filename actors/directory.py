"""Where a task is found: by its id, by the resource_meta it answers to, by its key, by its place.

One object for the whole node. Task behaviours write it as they perform effects, the gateway reads it between two
frames; both run on the event loop's thread, and nothing here awaits.
"""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

import trio

from flytower.actors.answers import Published, response
from flytower.actors.events import Demand
from flytower.actors.task import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flytower.actors.task import Task
    from flytower.connectors.category import TaskCategory
    from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase


class Entry(Published):
    """What is known about one task outside of its actor.

    Args:
        task: The record as it was when the actor was born; only what never changes is read from it.
        now: Trio's clock.
    """

    __slots__ = ("attempt", "category", "freed", "generation", "key", "meta", "names", "place", "stage")

    def __init__(self, task: Task, now: float) -> None:
        super().__init__(task.id, now)
        self.category = task.category
        self.key = task.key
        self.generation = task.generation
        self.place = task.place
        self.attempt = task.attempt
        self.freed = task.freed
        self.meta = task.meta
        self.stage = task.stage
        self.names: tuple[bytes, ...] = ()
        self.asleep = task.unread  # its actor wants to hear of the first read


class Directory:
    """All tasks that live on this node.

    Args:
        retired: Called with the id of each task whose entry goes.
    """

    def __init__(self, retired: Callable[[str], object] | None = None) -> None:
        self._entries: dict[str, Entry] = {}  # by task id; the owner of all below
        self._names: dict[TaskCategory, dict[bytes, Entry]] = {}  # each name of each entry
        self._generations: dict[str, tuple[Entry, ...]] = {}  # by key, the highest generation last
        self._places: dict[str, tuple[Entry, ...]] = {}  # entries with that place, in order of arrival
        self._retired = retired

    def __len__(self) -> int:
        return len(self._entries)

    def enter(self, task: Task) -> Entry:
        """Make the entry of a task whose actor is being born; an actor that is restarted keeps its entry."""
        entry = self._entries.get(task.id)
        if entry is not None:
            self.update(task)
            return entry
        entry = self._entries[task.id] = Entry(task, trio.current_time())
        if task.key:
            generations = (*self._generations.get(task.key, ()), entry)
            self._generations[task.key] = tuple(sorted(generations, key=attrgetter("generation")))
        if task.place:
            self._places[task.place] = (*self._places.get(task.place, ()), entry)
        return entry

    def leave(self, task_id: str) -> None:
        """Take a task out: from now on it is unknown here."""
        entry = self._entries.pop(task_id, None)
        if entry is None:
            return
        names = self._names.get(entry.category, {})
        for name in entry.names:
            if names.get(name) is entry:
                del names[name]
        if entry.key:
            _remove(self._generations, entry.key, entry)
        if entry.place:
            _remove(self._places, entry.place, entry)
        if self._retired is not None:
            self._retired(task_id)

    def get(self, task_id: str) -> Entry | None:
        """Return the entry of a task, or None."""
        return self._entries.get(task_id)

    def entries(self) -> Iterable[Entry]:
        """Return all entries, oldest first."""
        return self._entries.values()

    def named(self, category: TaskCategory, meta: bytes) -> Entry | None:
        """Return the entry that answers to a resource_meta, or None."""
        names = self._names.get(category)
        return names.get(meta) if names is not None else None

    def current(self, key: str) -> Entry | None:
        """Return the entry of the latest generation under a key, or None."""
        generations = self._generations.get(key)
        return generations[-1] if generations else None

    def earlier(self, entry: Entry) -> list[Entry]:
        """Return the entries of earlier attempts at the same place."""
        return [other for other in self._places.get(entry.place, ()) if other.attempt < entry.attempt]

    def is_superseded(self, entry: Entry) -> bool:
        """Whether there is a later attempt at the same place."""
        return any(other.attempt > entry.attempt for other in self._places.get(entry.place, ()))

    def free(self, task_id: str, category: TaskCategory, meta: bytes) -> bool:
        """Whether no other task that may still be asked for answers to this resource_meta."""
        entry = self.named(category, meta)
        return entry is None or entry.task == task_id or entry.freed

    def name(self, task_id: str, meta: bytes) -> None:
        """Have a task answer to a resource_meta."""
        entry = self._entries[task_id]
        self._names.setdefault(entry.category, {})[meta] = entry
        entry.names = (*entry.names, meta)

    def publish(self, task_id: str, phase: Phase, resource: bytes) -> None:
        """Make an encoded Resource the answer of a task."""
        entry = self._entries[task_id]
        entry.answer = response(resource)
        entry.phase = phase

    def update(self, task: Task) -> None:
        """Note what of a task's record matters to others."""
        entry = self._entries[task.id]
        entry.freed = task.freed
        entry.meta = task.meta
        entry.stage = task.stage

    def demand(self, task_id: str) -> Demand:
        """Return how a task is read."""
        entry = self._entries[task_id]
        return Demand(entry.read_at, entry.read_gap)

    def census(self) -> Counter[tuple[str, str]]:
        """Count the tasks by type and phase.

        "CREATING" stands for those without an answer yet, "UNKNOWN" for those of which nobody knows whether they exist.
        """
        return Counter((entry.category.name, _word(entry)) for entry in self._entries.values())


def _word(entry: Entry) -> str:
    if entry.stage is Stage.UNKNOWN:
        return "UNKNOWN"
    return "CREATING" if entry.phase is None else str(entry.phase.name)


def _remove(index: dict[str, tuple[Entry, ...]], name: str, entry: Entry) -> None:
    """Take an entry out of an index, and its name with it when nothing else has that."""
    index[name] = tuple(other for other in index[name] if other is not entry)
    if not index[name]:
        del index[name]
