"""What the world of the life cycle has outside of it: an external system and a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.store import LedgerError
from flytower.connectors.category import TaskCategory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flytower.actors.ledger.row import Row
    from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase

CATEGORY = TaskCategory("spark", 0)
TICK = 0.010
"""Timers come due in ticks: never in the moment in which they are set."""

LATEST_EFFECT = 4.0
"""Seconds after which a call that was given up may still take effect in the external system."""

ELSEWHERE = "elsewhere"
"""The token of a job that another server created: not ours to lose, but ours to delete when we are asked to."""


# ---- the external system --------------------------------------------------------------------------------------


@dataclass
class Job:
    """One external job."""

    meta: bytes
    token: str
    alive: bool = True
    end: Phase | None = None  # how it ended by itself


@dataclass
class ExternalSystem:
    """What really happened. `deeds` only ever grows."""

    honours_tokens: bool
    jobs: dict[bytes, Job] = field(default_factory=dict)
    deeds: list[tuple[str, str, bytes]] = field(default_factory=list)  # what, token, meta

    def create(self, token: str) -> bytes:
        if self.honours_tokens:
            for job in self.jobs.values():
                if job.token == token:
                    return job.meta
        meta = b'{"job":%d}' % len(self.jobs)
        self.jobs[meta] = Job(meta, token)
        self.deeds.append(("create", token, meta))
        return meta

    def foreign(self) -> bytes:
        """Return the one job of another server."""
        found = next((job.meta for job in self.jobs.values() if job.token == ELSEWHERE), None)
        return found or self.create(ELSEWHERE)

    def find(self, token: str) -> bytes | None:
        return next((job.meta for job in self.jobs.values() if job.token == token and job.alive), None)

    def delete(self, meta: bytes) -> None:
        job = self.jobs.get(meta)
        if job is not None and job.alive:
            job.alive = False
            self.deeds.append(("delete", job.token, meta))

    def living(self, token: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.token == token and job.alive]


# ---- the ledger -----------------------------------------------------------------------------------------------


class SlowStore(MemoryStore):
    """A store that is written when the world says so, and fails when it says so."""

    blocking = True
    failing = False

    def put(self, rows: Sequence[Row]) -> None:
        if self.failing:
            raise LedgerError("the disk is full")
        super().put(rows)

    def remove(self, ids: Any) -> None:
        if self.failing:
            raise LedgerError("the disk is full")
        super().remove(ids)
