"""Where a task is found: by its id, by the resource_meta it answers to, by its key, by its place.

One object for the whole node. Task behaviours write it as they perform effects, the gateway reads it between two
frames; both run on the event loop's thread, and nothing here awaits.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from flytower.actors.answers import Published
from flytower.actors.task import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flytower.actors.task import Task
    from flytower.connectors.category import TaskCategory
    from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase


class Entry(Published):
    """What is known about one task outside of its actor. It stays when the actor is restarted, or has crashed.

    Args:
        state: The task's record, which `Directory.update` replaces, and its behaviour while the stage stays the same.
        now: Trio's clock.
    """

    __slots__ = ("counted_as", "more_names", "name", "place", "state")

    def __init__(self, state: Task, now: float) -> None:
        super().__init__(now)
        self.state = state
        self.place = state.place  # where it was born; a record may leave its place
        self.name = b""  # what it answers to, b"" for nothing yet
        self.more_names: tuple[bytes, ...] = ()  # and what else
        self.asleep = state.unread  # its actor wants to hear of the first read
        self.counted_as = ""  # the word that the census has for it; "" for not yet

    @property
    def task(self) -> str:
        """Its id."""
        return self.state.id

    @property
    def category(self) -> TaskCategory:
        """Its task category."""
        return self.state.category


class _Index:
    """Entries by a name that several may share.

    One alone is kept bare, since nearly all are alone: a tuple around it is 64 bytes.
    """

    def __init__(self) -> None:
        self._found: dict[str, Entry | tuple[Entry, ...]] = {}  # no tuple is shorter than two

    def all(self, name: str) -> tuple[Entry, ...]:
        """Return the entries with that name, in order of arrival."""
        found = self._found.get(name, ())
        return found if isinstance(found, tuple) else (found,)

    def add(self, name: str, entry: Entry) -> None:
        """Add one, unless its name is ""."""
        if name:
            known = self.all(name)
            self._found[name] = (*known, entry) if known else entry

    def remove(self, name: str, entry: Entry) -> None:
        """Take one out."""
        left = tuple(other for other in self.all(name) if other is not entry)
        if left:
            self._found[name] = left if len(left) > 1 else left[0]
        else:
            self._found.pop(name, None)


class Directory:
    """All tasks that live on this node.

    Args:
        retired: Called with the id of each task whose entry goes.
    """

    def __init__(self, retired: Callable[[str], object] | None = None) -> None:
        self._entries: dict[str, Entry] = {}  # by task id; the owner of all below
        self._names: dict[TaskCategory, dict[bytes, Entry]] = {}  # each name of each entry
        self._generations = _Index()  # by key
        self._places = _Index()
        self._census: Counter[tuple[str, str]] = Counter()  # the entries by type and `counted_as`, kept as they change
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
        self._generations.add(task.key, entry)
        self._places.add(task.place, entry)
        self._count(entry, _word(entry))
        return entry

    def leave(self, task_id: str) -> None:
        """Take a task out: from now on it is unknown here."""
        entry = self._entries.pop(task_id, None)
        if entry is None:
            return
        names = self._names.get(entry.category, {})
        for name in (entry.name, *entry.more_names):
            if names.get(name) is entry:
                del names[name]
        self._generations.remove(entry.state.key, entry)
        self._places.remove(entry.place, entry)
        self._count(entry, "")
        if self._retired is not None:
            self._retired(task_id)

    def get(self, task_id: str) -> Entry | None:
        """Return the entry of a task, or None."""
        return self._entries.get(task_id)

    def __getitem__(self, task_id: str) -> Entry:
        """Return the entry of a task that has one."""
        return self._entries[task_id]

    def entries(self) -> Iterable[Entry]:
        """Return all entries, oldest first."""
        return self._entries.values()

    def named(self, category: TaskCategory, meta: bytes) -> Entry | None:
        """Return the entry that answers to a resource_meta, or None."""
        names = self._names.get(category)
        return names.get(meta) if names is not None else None

    def current(self, key: str) -> Entry | None:
        """Return the entry of the latest generation under a key, or None."""
        return max(self._generations.all(key), key=lambda entry: entry.state.generation, default=None)

    def earlier(self, entry: Entry) -> list[Entry]:
        """Return the entries of earlier attempts at the same place."""
        return [other for other in self._places.all(entry.place) if other.state.attempt < entry.state.attempt]

    def is_superseded(self, entry: Entry) -> bool:
        """Whether there is a later attempt at the same place."""
        return any(other.state.attempt > entry.state.attempt for other in self._places.all(entry.place))

    def free(self, task_id: str, category: TaskCategory, meta: bytes) -> bool:
        """Whether no other task that may still be asked for answers to this resource_meta."""
        entry = self.named(category, meta)
        return entry is None or entry.task == task_id or entry.state.freed

    def name(self, task_id: str, meta: bytes) -> None:
        """Have a task answer to a resource_meta."""
        entry = self._entries[task_id]
        self._names.setdefault(entry.category, {})[meta] = entry
        if not entry.name:
            entry.name = meta
        elif meta != entry.name:
            entry.more_names = (*entry.more_names, meta)

    def publish(self, task_id: str, phase: Phase, resource: bytes) -> None:
        """Make an encoded Resource the answer of a task."""
        entry = self._entries[task_id]
        entry.resource = resource
        if entry.phase is not phase:
            entry.phase = phase
            self._count(entry, _word(entry))

    def update(self, task: Task) -> None:
        """Note a task's record as it is now."""
        entry = self._entries[task.id]
        entry.state = task
        self._count(entry, _word(entry))

    def census(self) -> Counter[tuple[str, str]]:
        """Return how many tasks there are by type and phase, without a look at any of them.

        "CREATING" stands for those without an answer yet, "UNKNOWN" for those of which nobody knows whether they exist.
        """
        return self._census.copy()

    def _count(self, entry: Entry, word: str) -> None:
        """Count a task under another word than before."""
        census, name, before = self._census, entry.category.name, entry.counted_as
        if word == before:
            return
        entry.counted_as = word
        if before:
            census[name, before] -= 1
            if not census[name, before]:
                del census[name, before]
        if word:
            census[name, word] += 1


def _word(entry: Entry) -> str:
    if entry.state.stage is Stage.UNKNOWN:
        return "UNKNOWN"
    return "CREATING" if entry.phase is None else str(entry.phase.name)
