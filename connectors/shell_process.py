"""Processes that are not our children, told apart from strangers that got their numbers: Linux's /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import signal

OWNER_WORDS = 4
"""Number, start, group and boot."""

_PROC = Path("/proc")


class Stat(NamedTuple):
    """What /proc/PID/stat says of a process that matters here. `start` is in clock ticks since boot."""

    pid: int
    state: str
    group: int
    session: int
    start: int

    @property
    def zombie(self) -> bool:
        """Whether it has ended, and only waits to be collected by its parent."""
        return self.state in ("Z", "X", "x")


class Owner(NamedTuple):
    """The process that runs a job: its wrapper, identified for as long as the machine is up, and beyond.

    Args:
        pid: Its number.
        start: When it started: numbers are used again, a number with its start time is not.
        group: Its process group, which is the session's number as well; the job's processes are in it.
        boot: Which boot of the machine that was.
    """

    pid: int
    start: int
    group: int
    boot: str

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """Return the owner that a wrapper has written down; None for anything else."""
        words = text.split()
        if len(words) != OWNER_WORDS or not all(word.isdecimal() for word in words[:3]):
            return None
        return cls(int(words[0]), int(words[1]), int(words[2]), words[3])

    def is_alive(self) -> bool:
        """Say whether the wrapper runs."""
        if self.boot != boot_id():
            return False
        stat = read_stat(self.pid)
        if stat is None or stat.start != self.start:
            return False
        if stat.zombie:
            _collect(self.pid)
        return not stat.zombie

    def members(self) -> list[int]:
        """Return the processes of the job that run: the wrapper and what is left in its group."""
        if self.boot != boot_id():
            return []
        leader = read_stat(self.group)
        if leader is not None and leader.start > self.start:
            return []  # the number of the group is used again, which happens only after the group is empty
        return [
            stat.pid
            for stat in _all_stats()
            if stat.group == self.group and stat.session == self.group and not stat.zombie
        ]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the job. None of them left is fine."""
        if self.members():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.group, number)


def boot_id() -> str:
    """Return the identity of this boot of the machine."""
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_stat(pid: int) -> Stat | None:
    """Return what is known of a process; None when there is none with that number."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = text.rpartition(")")[2].split()  # the name before it may hold blanks and parentheses
    return Stat(pid, words[0], int(words[2]), int(words[3]), int(words[19]))


def _all_stats() -> list[Stat]:
    numbers = (
        int(entry)
        for entry in os.listdir(_PROC)  # noqa: PTH208 - names are all it takes
        if entry.isdecimal()
    )
    return [stat for stat in map(read_stat, numbers) if stat is not None]


def _collect(pid: int) -> None:
    """Collect a zombie that is our own child: it is when we are process 1, as in a container, and inherit orphans."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
