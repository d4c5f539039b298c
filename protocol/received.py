"""The bytes that a message came as, kept beside it.

Encoding a task's template again costs 34 us, and asking for what was kept 0.1 (measured). Who passes a message on to
code with another codec, or writes it down, takes these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from flytower.protocol.encode import encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from betterproto2 import Message

M = TypeVar("M", bound="Message")
T = TypeVar("T")

_NAME = "_received"
_SHARED = "_shared"
_WORKED_OUT = "_worked_out"


def note(message: Message, data: bytes) -> None:
    """Keep what a message was read from; of one that came in parts, all of them, which is how they merge."""
    kept = message.__dict__
    kept[_NAME] = kept[_NAME] + data if _NAME in kept else data


def received(message: Message) -> bytes:
    """Return the encoding of a message that nobody has changed since it was read, or made."""
    data: bytes | None = message.__dict__.get(_NAME)
    return encoded(message) if data is None else data


def was_received(message: Message) -> bool:
    """Whether a message has come from a peer, and is no one's who might change it without our knowing."""
    return _NAME in message.__dict__


def share(message: M) -> M:
    """Mark a message that several may have at a time, and that nobody may change therefore."""
    message.__dict__[_SHARED] = True
    return message


def worked_out(message: M, work: Callable[[M], T]) -> T:
    """Return what a function makes of a shared message: made once, kept beside the message, and gone with it."""
    kept = message.__dict__.setdefault(_WORKED_OUT, {})
    if work not in kept:
        kept[work] = work(message)
    found: T = kept[work]
    return found


def is_shared(message: Message) -> bool:
    """Whether a message is one that several may have."""
    return _SHARED in message.__dict__
