"""How a connector's jobs are created, polled, deleted and recovered."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from enum import Enum

from flytower.connectors.errors import PolicyError

RETENTION = 86400.0
"""Seconds: a day. A connector that leaves it at that has the server's own setting."""


class Recovery(Enum):
    """What becomes of a create that was in flight when the server died."""

    TOKEN = "token"  # noqa: S105 - the word for it, not one
    """`create` takes `idempotency_key`, and the external system honours it: create is simply called again."""

    FIND = "find"
    """The connector has `async def find(self, key, **kwargs) -> ResourceMeta | None`, which looks the job up."""

    NEITHER = "neither"
    """Nobody can know. No second job is ever created; the task is reported as failed, for a human to look."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What an author declares about a connector: `policy = Policy(recovery=Recovery.TOKEN, get_timeout=5)`.

    All times are in seconds. Each default is safe for a connector whose author has not thought about it.

    Args:
        recovery: What becomes of a create that was in flight when the server died.
        create_timeout: When a create is given up. It goes on after its caller has gone, so it may be long.
        get_timeout: When a poll is given up, and counts as failed.
        delete_timeout: When a delete is given up, and tried again later.
        logs_timeout: When a stream of logs is ended; the client goes on with the token that it was given.
        do_timeout: When a synchronous task is given up and fails. Flyte itself waits 10 s unless told otherwise.
        poll_minimum: The pause after a first poll, and after one that brought news.
        poll_maximum: The longest pause between polls of a job that somebody asks about more often than that.
        poll_factor: What the pause is multiplied by after a poll without news; 1 keeps it.
        idle_after: After this long without a reader, polls slow down.
        hibernate_after: After this long without a reader, polls stop; the next read wakes the job.
        not_found_grace: How long a fresh job may be unknown to an external system that reads its own writes late.
        requests_per_second: The most calls per second to the external system, all jobs together; None for no limit.
        concurrency: How many calls run at once in each lane (polls are one, creates and deletes another).
        thread_limit: How many threads the connector's plain functions may hold. A call that hangs keeps its thread.
        breaker_failures: After more failures in a row than this, all jobs together, the external system is left alone.
        breaker_seconds: How long; then one call may try, and its outcome decides.
        failure_age: A job that could not be polled for this long becomes RETRYABLE_FAILED; None for never.
        failure_count: A job becomes RETRYABLE_FAILED after this many failed polls in a row; None for no count.
        delete_after_finish: Whether a delete reaches the connector after the job has succeeded. Flyte 2 deletes
            every finished task an hour later, which must not take down an endpoint that was created to stay. After
            any other end it always does.
        delete_minimum: The pause before a failed delete is tried again, doubled each time.
        delete_maximum: The longest such pause; a delete is never given up.
        retention: How long a task that is over stays readable, and its key taken; left alone, as the server is set.

    Raises:
        PolicyError: A value is out of range. The message names the field, the value and the rule.
    """

    recovery: Recovery = Recovery.NEITHER
    create_timeout: float = 60.0
    get_timeout: float = 10.0
    delete_timeout: float = 30.0
    logs_timeout: float = 300.0
    do_timeout: float = 60.0
    poll_minimum: float = 1.0
    poll_maximum: float = 30.0
    poll_factor: float = 1.5
    idle_after: float = 120.0
    hibernate_after: float = 3600.0
    not_found_grace: float = 30.0
    requests_per_second: float | None = None
    concurrency: int = 64
    thread_limit: int = 16
    breaker_failures: int = 5
    breaker_seconds: float = 20.0
    failure_age: float | None = 3600.0
    failure_count: int | None = None
    delete_after_finish: bool = False
    delete_minimum: float = 1.0
    delete_maximum: float = 300.0
    retention: float = RETENTION

    def __post_init__(self) -> None:
        if not isinstance(self.recovery, Recovery):
            self._refuse("recovery", "must be a Recovery")
        if not isinstance(self.delete_after_finish, bool):
            self._refuse("delete_after_finish", "must be True or False")
        for field in dataclasses.fields(self):
            if field.name in _NUMBERS:
                self._check_number(field.name, optional=field.name in _OPTIONAL)
        for low, high in _ORDERED:
            if getattr(self, low) > getattr(self, high):
                self._refuse(low, f"must not be above {high}={getattr(self, high)!r}")

    def _check_number(self, name: str, *, optional: bool) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        wanted = int if name in _INTEGERS else int | float
        if isinstance(value, bool) or not isinstance(value, wanted) or not math.isfinite(value):
            self._refuse(name, f"must be {_kind(name)}{' or None' if optional else ''}")
        least, exclusive = _NUMBERS[name]
        if value < least or (exclusive and value == least):
            self._refuse(name, f"must be {'above' if exclusive else 'at least'} {least}")

    def _refuse(self, name: str, rule: str) -> None:
        raise PolicyError(f"Policy({name}={getattr(self, name)!r}): {name} {rule}")


def _kind(name: str) -> str:
    return "an integer" if name in _INTEGERS else "a finite number"


_INTEGERS = frozenset({"concurrency", "thread_limit", "breaker_failures", "failure_count"})
_OPTIONAL = frozenset({"requests_per_second", "failure_age", "failure_count"})
_ORDERED = (
    ("poll_minimum", "poll_maximum"),
    ("idle_after", "hibernate_after"),
    ("delete_minimum", "delete_maximum"),
)

_NUMBERS: dict[str, tuple[float, bool]] = {  # the least value, and whether it is itself excluded
    "create_timeout": (0, True),
    "get_timeout": (0, True),
    "delete_timeout": (0, True),
    "logs_timeout": (0, True),
    "do_timeout": (0, True),
    "poll_minimum": (0, True),
    "poll_maximum": (0, True),
    "poll_factor": (1, False),
    "idle_after": (0, False),
    "hibernate_after": (0, False),
    "not_found_grace": (0, False),
    "requests_per_second": (0, True),
    "concurrency": (1, False),
    "thread_limit": (1, False),
    "breaker_failures": (1, False),
    "breaker_seconds": (0, True),
    "failure_age": (0, True),
    "failure_count": (1, False),
    "delete_minimum": (0, True),
    "delete_maximum": (0, True),
    "retention": (0, True),
}
