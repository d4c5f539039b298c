"""What can go wrong between an entity host and those who use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.runtime.errors import ActorError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from flytower.runtime.exits import Exit


class HostError(ActorError):
    """Base of the errors that a host, a lane or a call of an entity gives."""


class CallFailed(HostError):  # noqa: N818 - the established word
    """A call raised what no call should: SystemExit, KeyboardInterrupt, a cancellation of another event loop.

    Args:
        error: What it raised; also the `__cause__`.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the call raised {type(error).__name__}: {error}; it should raise an Exception, or return")
        self.error = error
        self.__cause__ = error


class CallTagBusy(HostError):  # noqa: N818 - the state of the tag is the error
    """A behaviour asked for a second call of a tag while the first one runs: a mistake of the behaviour."""


class UnknownLane(HostError):  # noqa: N818 - the established word
    """A behaviour named a lane that its host does not have: a mistake of the behaviour, or of who built the host."""


class LaneFull(HostError):  # noqa: N818 - the state of the lane is the error
    """A lane has as many calls running and waiting as it takes: try again later, or give it more workers."""


class HostFull(HostError):  # noqa: N818 - the state of the host is the error
    """The host has as many entities as it takes: refuse the newcomer, or raise the limit."""


class HostStopped(HostError):  # noqa: N818 - the state of the host is the error
    """The host is stopping, or has stopped: it starts no more entities. Ask the host that follows it."""


class EntityLives(HostError):  # noqa: N818 - the state of the entity is the error
    """An entity with that key lives already: talk to it, or end it first."""


class EntityMailboxFull(HostError):  # noqa: N818 - the state of the mailbox is the error
    """As many messages wait for the entity as its mailbox takes: the sender is faster than it, or in a loop."""


class EntityGone(HostError):  # noqa: N818 - the state of the entity is the error
    """The entity that owed the answer is over, or was never there.

    Args:
        key: Which entity.
        exit: How it ended; `stopped` when there was none.
    """

    def __init__(self, key: Hashable, exit: Exit) -> None:  # noqa: A002 - OTP's word for it
        super().__init__(f"entity {key!r} gives no answer any more ({exit})")
        self.key = key
        self.exit = exit
