"""What a method of the server is, and what its handler is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

import trio

from flytower.protocol.decode import Known, not_known

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from betterproto2 import Message

R_co = TypeVar("R_co", covariant=True)


class Pending(Protocol[R_co]):
    """An answer that is not there yet. The server takes it by callback, without a task per call.

    The server calls `withdraw` when the caller is gone or its deadline has passed.
    """

    withdrawn: bool

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Have `callback(self)` called once, when the answer is there; at once when it is there already."""

    def result(self) -> R_co:
        """Return the answer, or raise its error."""

    def withdraw(self) -> None:
        """Say that nobody waits any more."""


class Call:
    """One call of one client.

    Args:
        method: The full path, "/flyteidl.service.AsyncAgentService/GetTask".
        deadline: The instant on trio's clock after which the caller no longer listens; None without one.
        metadata: The request headers that a client may set, without the pseudo headers.
        peer: The caller's address for a log line, "127.0.0.1:53412".
        about: What the handler knows the call to be, for whoever counts calls (task type, operation).
        started: When it began, on trio's clock; now unless given.
    """

    __slots__ = ("about", "deadline", "metadata", "method", "peer", "started")

    def __init__(
        self,
        method: str,
        deadline: float | None,
        metadata: Mapping[str, str | bytes],
        peer: str,
        about: object = None,
        started: float | None = None,
    ) -> None:
        self.method = method
        self.deadline = deadline
        self.metadata = metadata
        self.peer = peer
        self.about = about
        self.started = trio.current_time() if started is None else started

    def remaining(self) -> float | None:
        """Seconds until the deadline, never negative; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - trio.current_time())


class Stream(Protocol):
    """The two directions of a streaming call, from trio."""

    async def receive(self) -> Any | None:
        """Wait for the next request message; None when the client has sent its last."""

    async def send(self, message: Message) -> None:
        """Send one response message, waiting while the client does not read (flow control)."""


Answer: TypeAlias = "Message | bytes"
"""A response message, or its encoding when that is at hand already."""

UnaryHandler: TypeAlias = "Callable[[Any, Call], Answer | Pending[Answer]]"
"""Synchronous: it answers at once, or says that the answer is pending. Raises RpcError for a refusal."""

StreamHandler: TypeAlias = "Callable[[Call, Stream], Awaitable[None]]"
"""A trio coroutine; cancelled when the client hangs up, its deadline passes or the server's grace ends."""


class Unary(NamedTuple):
    """A method with one request and one response.

    Args:
        path: What the client asks for.
        request_type: What it sends.
        handler: Answers.
        known: Given the encoding of a part of a request, returns that part if it is at hand: then it is not decoded,
            and calls share it.
    """

    path: str
    request_type: type[Message]
    handler: UnaryHandler
    known: Known = not_known


class Streaming(NamedTuple):
    """A method where a side streams (GetTaskLogs, ExecuteTaskSync)."""

    path: str
    request_type: type[Message]
    handler: StreamHandler


Method: TypeAlias = Unary | Streaming
