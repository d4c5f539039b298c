"""Processes that tests start, and that are gone when the test is, however it ended."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a process for the time of the block; at its end it is killed, unless it has ended, and waited for."""
    with subprocess.Popen(command, **options) as started:
        try:
            yield started
        finally:
            started.kill()
