"""What a GetTask is answered with: a Resource that was encoded when the connector gave it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.protocol.encode import encoded, varint
from flytower.protocol.generated.flyteidl.admin import Resource

if TYPE_CHECKING:
    from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase


def own_resource(phase: Phase, message: str) -> bytes:
    """Encode a Resource that the server itself has to say: a phase and one sentence.

    Outputs stay unset: set but empty ones would be taken for the task's real outputs.
    """
    return encoded(Resource(phase=phase, message=message))


def with_note(resource: bytes, note: str) -> bytes:
    """Return an encoded Resource with a note after its message."""
    message = Resource.parse(resource)
    message.message = f"{message.message} ({note})" if message.message else note
    return encoded(message)


def response(resource: bytes) -> bytes:
    """Encode the GetTaskResponse that carries an encoded Resource."""
    return _field_one(resource)


def _field_one(payload: bytes) -> bytes:
    """Encode a message whose only field is a sub-message numbered 1 (Protocol Buffers encoding: tag, length, bytes)."""
    return b"\x0a" + varint(len(payload)) + payload


class Published:
    """The answer of one task as readers see it, and what readers leave behind.

    The task's behaviour writes `resource`, `phase` and `asleep`; readers write `read_at`, `read_gap` and `asleep`
    through `touch`. Both happen on the event loop's thread, between two awaits.

    Args:
        now: Trio's clock: a new task counts as read at its birth, since somebody has just asked for it.
    """

    __slots__ = ("asleep", "phase", "read", "read_at", "read_gap", "resource")

    def __init__(self, now: float) -> None:
        self.resource = b""  # encoded; most often the very bytes that the task's record has, so they are there once
        self.phase: Phase | None = None
        self.read = False
        self.read_at = now
        self.read_gap = 0.0
        self.asleep = False

    @property
    def answer(self) -> bytes:
        """The encoded GetTaskResponse; b"" before the first answer."""
        return response(self.resource) if self.phase is not None else b""

    def touch(self, now: float) -> bool:
        """Note a read; returns True when the task has to be told of it: it slept, or nobody had ever read it."""
        if self.read:
            self.read_gap = now - self.read_at
        self.read = True
        self.read_at = now
        asleep, self.asleep = self.asleep, False
        return asleep
