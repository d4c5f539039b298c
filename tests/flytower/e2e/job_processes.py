"""The processes of shell jobs, found by a mark in their environment, whatever became of their numbers and parents."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "END_TO_END_MARK"


def marked(command: str | list[str], mark: str) -> dict[str, Any]:
    """Return what a shell task needs to run a command whose processes can be found again."""
    return {"command": command, "env": {VARIABLE: mark}}


def alive(mark: str) -> list[int]:
    """Return the numbers of the processes that have the mark."""
    wanted = f"{VARIABLE}={mark}".encode()
    return [pid for pid in _pids() if wanted in _environment(pid)]


def kill(mark: str) -> None:
    """End what has the mark, by number, until nothing has it."""
    while pids := alive(mark):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _environment(pid: int) -> list[bytes]:
    """Return the variables of a process; none for one that has ended, or is another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
