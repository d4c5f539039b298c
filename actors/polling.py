"""When to poll: backoff that follows demand, as pure functions.

Three rules. Polls of a job that does not change get rarer, by the policy's factor up to its maximum. A poll that nobody
has asked for waits: as long as nobody reads, polls come at the policy's maximum, then ever more rarely, then not at
all. And when a reader has a rhythm (flytepropeller reads every 30 s), the poll comes just before the next read, so
that the answer is fresh when it is wanted instead of half a period old.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flytower.actors.steps import JITTER
from flytower.runtime.entity import Wake

if TYPE_CHECKING:
    from flytower.actors.events import Demand
    from flytower.actors.task import Task

LEAD_SHARE = 0.1
"""How much of a reader's period before the expected read the poll comes: its own duration must fit into it."""

LEAD_MAXIMUM = 2.0
"""Seconds of lead at the most: most external systems answer in less."""

EARLY_SHARE = 0.2
"""How much of the interval before its end a poll may come to be in time for a read: a poll takes time itself, and a
reader as slow as the slowest polls would otherwise find every other read without one."""

PATIENCE = 1.5
"""A reader that is this many of its periods late has lost its rhythm."""

IDLE_SHARE = 0.5
"""An idle task is polled again when this share of its idle time has passed since the last poll: ever more rarely."""

RESOLUTION = 0.010
"""Seconds. Less is no pause: timers are that late anyway, and one of 1e-14 s ends before the clock has moved."""


def longer(task: Task) -> float:
    """Return the next interval of a job that did not change."""
    policy = task.policy
    return min(policy.poll_maximum, max(policy.poll_minimum, task.interval * policy.poll_factor))


def rest_of_interval(task: Task, now: float) -> float:
    """Return what is left of the interval from one poll's beginning to the next: one that hung has used much of it."""
    return max(task.policy.poll_minimum, task.interval - (now - task.polled_at))


def pause(task: Task, now: float, demand: Demand) -> float:
    """Return the seconds that the poll should still wait for, 0.0 when it is due, infinity to sleep until wanted.

    Args:
        task: The task, LIVE.
        now: Trio's clock.
        demand: When and how often it is read.
    """
    since_poll = now - task.polled_at
    if demand.read_at > task.polled_at or (demand.read_gap and now < demand.read_at + PATIENCE * demand.read_gap):
        return 0.0
    idle = now - demand.read_at
    if idle >= task.policy.hibernate_after:
        return float("inf")
    floor = task.policy.poll_maximum
    if idle >= task.policy.idle_after:
        floor = max(floor, IDLE_SHARE * idle)
    left = floor - since_poll
    return left if left > RESOLUTION else 0.0


def next_poll(interval: float, now: float, demand: Demand) -> Wake:
    """Say when to poll next: after the interval, stretched to just before the read that is expected then.

    Args:
        interval: What the backoff says.
        now: Trio's clock.
        demand: When and how often the task is read.
    """
    read_at, read_gap = demand.read_at, demand.read_gap
    if read_gap < (1.0 - EARLY_SHARE) * interval or now > read_at + PATIENCE * read_gap:
        return Wake(interval, JITTER * interval)
    lead = min(LEAD_MAXIMUM, LEAD_SHARE * read_gap)
    reads = math.ceil((now + interval - EARLY_SHARE * interval + lead - read_at) / read_gap)
    wait = read_at + reads * read_gap - lead - now
    return Wake(wait, min(lead / 2, JITTER * wait))


def gave_up(task: Task, now: float) -> bool:
    """Whether the policy's limit for polls that fail in a row (by count or by age) has passed."""
    limit = task.policy.failure_count
    return (limit is not None and task.failures >= limit) or is_too_old(task, now)


def is_too_old(task: Task, now: float) -> bool:
    """Whether the policy's limit for the age of the last answer has passed."""
    policy = task.policy
    return policy.failure_age is not None and task.failures > 0 and now - task.failing_since >= policy.failure_age
