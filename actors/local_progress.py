"""What a person sees of a task that runs locally: one line that lives on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.progress import TaskID

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
        self._line: TaskID | None = None
        self._screen: _Screen | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._screen, self._line = _Screen.begin(self._stream, f"{self._task}: creating")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._screen is None or self._line is None:
            return
        if kind is None and self._said:
            self._say(f"{self._task}: {self._said} ({self._elapsed()})")
        self._screen.end(self._line)

    def __call__(self, resource: Resource) -> None:
        """Show an answer."""
        for link in resource.log_links:
            if link.uri not in self._links:
                self._links.add(link.uri)
                self._say(f"{self._task}: {link.name}: {link.uri}")
        text = line_of(resource.phase, resource.message)
        if self._screen is not None and self._line is not None:
            self._screen.show(self._line, f"{self._task}: {text}")
        elif text != self._said:
            self._say(f"{self._task}: {text} ({self._elapsed()})")
        self._said = text

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._begun:.1f} s"

    def _say(self, line: str) -> None:
        if self._screen is not None:
            self._screen.say(line)
        else:
            print(line, file=self._stream, flush=True)


class _Screen:
    """A terminal, with a line for each task that runs: phase, message, and a clock that ticks by itself.

    Tasks that run at once share one. It begins with the first of them and ends with the last.
    """

    _lock = threading.Lock()
    _open: dict[TextIO, _Screen] = {}  # noqa: RUF012 - one for the process, which is changed under the lock only

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415 - only who looks should pay for it
        from rich.progress import Progress as Lines  # noqa: PLC0415 - likewise
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - likewise

        self._stream = stream
        self._lines = Lines(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=stream),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what goes into a pipe is no business of the terminal's
        )
        self._lines.start()

    @classmethod
    def begin(cls, stream: TextIO, text: str) -> tuple[_Screen, TaskID]:
        """Add a line to a terminal, where there may be some already."""
        with cls._lock:
            screen = cls._open.get(stream) or cls._open.setdefault(stream, cls(stream))
            return screen, screen.add(text)

    def add(self, text: str) -> TaskID:
        """Add a line."""
        return self._lines.add_task(text, total=None)

    def show(self, line: TaskID, text: str) -> None:
        """Change a line."""
        self._lines.update(line, description=text)

    def say(self, text: str) -> None:
        """Leave a text above the lines, for good."""
        self._lines.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def end(self, line: TaskID) -> None:
        """Take a line away."""
        with self._lock:
            self._lines.remove_task(line)
            if not self._lines.task_ids:
                self._open.pop(self._stream, None)
                self._lines.stop()


def line_of(phase: Phase, message: str) -> str:
    """Return one line for a phase and a message."""
    words = " ".join(message.split())
    name = phase.name or str(phase.value)
    return f"{name}: {words}" if words else name
