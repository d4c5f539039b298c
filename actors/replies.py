"""Promises that turn what a task answers into what the wire carries."""

from __future__ import annotations

from flytower.actors.answers import response
from flytower.protocol.encode import encoded
from flytower.protocol.generated.flyteidl.admin import CreateTaskResponse
from flytower.protocol.status import RpcError, Status
from flytower.runtime.host_errors import EntityGone, HostError
from flytower.runtime.promise import Promise


class CreateReply(Promise[bytes]):
    """A task answers CreateTask with its resource_meta."""

    __slots__ = ()

    def result(self) -> bytes:
        """Return the encoded CreateTaskResponse."""
        return encoded(CreateTaskResponse(resource_meta=_given(self)))


class ReadReply(Promise[bytes]):
    """A task answers GetTask with an encoded Resource."""

    __slots__ = ()

    def result(self) -> bytes:
        """Return the encoded GetTaskResponse."""
        return response(_given(self))


class DeleteReply(Promise[bytes]):
    """A task answers DeleteTask with nothing, once its wish is durable."""

    __slots__ = ()

    def result(self) -> bytes:
        """Return the encoded DeleteTaskResponse, which has no fields."""
        return _given(self)


def _given(promise: Promise[bytes]) -> bytes:
    """Return a promise's plain answer, with what the host has to say translated for the wire."""
    try:
        return Promise.result(promise)
    except EntityGone as error:
        raise RpcError(Status.UNAVAILABLE, "The task's actor ended before it answered; try again.") from error
    except HostError as error:
        raise RpcError(Status.RESOURCE_EXHAUSTED, "The server has no room for this; try again later.") from error
