"""A fake external system: small, honest, in this process, with a record of every job that it created and deleted.

It does what it says: a job exists from the moment at which its create is executed, whether anybody hears of that or
not. What the network and the API do to the caller (latency, errors, a lost reply, silence) is set from outside.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import trio

from flytower.connectors.errors import JobNotFound
from flytower.connectors.resource import Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase

if TYPE_CHECKING:
    from collections.abc import Callable


class Weather(Enum):
    """What becomes of one call."""

    FINE = "fine"  # done, and answered
    LOST = "lost"  # done, and the reply never comes
    SILENT = "silent"  # not done, and no reply comes


T = TypeVar("T")

Condition = Weather | Exception
"""What becomes of one call; an exception means that it is not done, and says why."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that the system did: never taken back."""

    what: str  # "create" or "delete"
    job: str
    key: str
    time: float


@dataclass(slots=True)
class Job:
    """One job."""

    name: str
    key: str
    created: float
    phase: Phase = Phase.RUNNING
    message: str = "at work"
    outputs: dict[str, int] | None = None
    alive: bool = True


@dataclass
class ExternalSystem:
    """The system and its knobs.

    Args:
        honours_keys: Whether a second create with the same key gives the job of the first.
        latency: Seconds that a call of an operation takes.
        weather: What becomes of the calls of an operation, until it changes.
        forecast: What becomes of the next calls of an operation, one each, before `weather` counts again.
        lag: Seconds for which a fresh job is unknown to get.
    """

    honours_keys: bool = False
    latency: dict[str, float] = field(default_factory=dict)
    weather: dict[str, Condition] = field(default_factory=dict)
    forecast: dict[str, deque[Condition]] = field(default_factory=dict)
    lag: float = 0.0
    jobs: dict[str, Job] = field(default_factory=dict)
    record: list[Deed] = field(default_factory=list)
    calls: list[tuple[str, str, float]] = field(default_factory=list)
    """Every call that came in: the operation, the job (or the key) it is about, when."""
    under_way: dict[str, int] = field(default_factory=dict)
    """Calls that came in and have neither been answered nor cancelled, by operation."""
    called: trio.Event = field(default_factory=trio.Event)

    # ---- what callers do --------------------------------------------------------------------------------------

    async def create(self, key: str) -> str:
        """Start a job; return its name."""
        return await self._call("create", key, lambda: self.create_now(key))

    async def get(self, name: str) -> Resource:
        """Tell where a job stands."""
        return await self._call("get", name, lambda: self.get_now(name))

    async def delete(self, name: str) -> None:
        """End a job."""
        await self._call("delete", name, lambda: self.delete_now(name))

    async def find(self, key: str) -> str | None:
        """Look for the job of a key."""
        return await self._call("find", key, lambda: self.find_now(key))

    def create_now(self, key: str) -> str:
        """Start a job at once, for callers that are no coroutines."""
        if self.honours_keys and (known := self.find_now(key)) is not None:
            return known
        name = f"job-{len(self.jobs)}"
        self.jobs[name] = Job(name, key, trio_now())
        self.record.append(Deed("create", name, key, trio_now()))
        return name

    def get_now(self, name: str) -> Resource:
        """Tell where a job stands at once."""
        job = self.jobs.get(name)
        if job is None or not job.alive or trio_now() < job.created + self.lag:
            raise JobNotFound(f"no job {name}")
        return Resource(job.phase, job.message, outputs=job.outputs)

    def delete_now(self, name: str) -> None:
        """End a job at once."""
        job = self.jobs.get(name)
        if job is None or not job.alive:
            raise JobNotFound(f"no job {name}")
        job.alive = False
        self.record.append(Deed("delete", name, job.key, trio_now()))

    def find_now(self, key: str) -> str | None:
        """Look for the job of a key at once; also one that was deleted, as job lists show them."""
        return next((job.name for job in self.jobs.values() if job.key == key), None)

    # ---- what tests do ----------------------------------------------------------------------------------------

    def expect(self, operation: str, *conditions: Condition) -> None:
        """Say what becomes of the next calls of an operation."""
        self.forecast.setdefault(operation, deque()).extend(conditions)

    def calm(self) -> None:
        """End all faults."""
        self.weather.clear()
        self.forecast.clear()
        self.latency.clear()
        self.lag = 0.0

    def end(self, name: str, phase: Phase, outputs: dict[str, int] | None = None) -> None:
        """Have a job end."""
        job = self.jobs[name]
        job.phase, job.message, job.outputs = phase, f"it is {phase.name}", outputs

    def living(self) -> list[Job]:
        """Return the jobs that exist."""
        return [job for job in self.jobs.values() if job.alive]

    def count(self, operation: str, about: str | None = None) -> int:
        """Count the calls of an operation that came in."""
        return sum(op == operation and about in (None, what) for op, what, _ in self.calls)

    def times(self, operation: str) -> list[float]:
        """Return when the calls of an operation came in."""
        return [time for op, _, time in self.calls if op == operation]

    def deeds(self, what: str) -> list[Deed]:
        """Return what was done of one kind."""
        return [deed for deed in self.record if deed.what == what]

    async def until_called(self, operation: str, times: int = 1) -> None:
        """Wait for calls of an operation to have come in."""
        while self.count(operation) < times:
            await self.called.wait()

    # ---- inside -----------------------------------------------------------------------------------------------

    async def _call(self, operation: str, about: str, do: Callable[[], T]) -> T:
        self.note(operation, about)
        self.under_way[operation] = self.under_way.get(operation, 0) + 1
        try:
            coming = self.forecast.get(operation)
            condition = coming.popleft() if coming else self.weather.get(operation, Weather.FINE)
            await trio.sleep(self.latency.get(operation, 0.0))
            if isinstance(condition, Exception):
                raise condition
            if condition is Weather.SILENT:
                await trio.sleep_forever()
            result = do()
            if condition is Weather.LOST:
                await trio.sleep_forever()
            return result
        finally:
            self.under_way[operation] -= 1

    def note(self, operation: str, about: str) -> None:
        """Write down that a call came in."""
        self.calls.append((operation, about, trio_now()))
        self.called.set()
        self.called = trio.Event()


def trio_now() -> float:
    """Return trio's time, or 0.0 where there is none: in a thread."""
    try:
        return trio.current_time()
    except RuntimeError:
        return 0.0
