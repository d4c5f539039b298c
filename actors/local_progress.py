"""What a person sees of a task that runs locally: one line that lives on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.status import Status

    from flytower.protocol.generated.flyteidl.admin import Resource
    from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase


class Progress:
    """Shows each new answer of a task; call it with one. Called on the node's thread.

    Args:
        task: What to call the task.
        stream: Where to show it.
    """

    def __init__(self, task: str, stream: TextIO | None = None) -> None:
        self._task = task
        self._stream = stream if stream is not None else sys.stderr
        self._begun = time.monotonic()
        self._said = ""
        self._links: set[str] = set()
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from rich.console import Console  # noqa: PLC0415 - only who looks should pay for it

            self._status = Console(file=self._stream).status(f"{self._task}: creating")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, resource: Resource) -> None:
        """Show an answer."""
        for link in resource.log_links:
            if link.uri not in self._links:
                self._links.add(link.uri)
                self._say(f"{self._task}: {link.name}: {link.uri}")
        text = line_of(resource.phase, resource.message)
        if self._status is not None:
            self._status.update(f"{self._task}: {text} ({time.monotonic() - self._begun:.0f} s)")
        elif text != self._said:
            self._say(f"{self._task}: {text} ({time.monotonic() - self._begun:.1f} s)")
        self._said = text

    def _say(self, line: str) -> None:
        if self._status is not None:
            self._status.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._stream, flush=True)


def line_of(phase: Phase, message: str) -> str:
    """Return one line for a phase and a message."""
    words = " ".join(message.split())
    name = phase.name or str(phase.value)
    return f"{name}: {words}" if words else name
