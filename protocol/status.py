"""What a caller is told when there is no answer: a status code and one short sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.exceptions import GRPCError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_MESSAGE_BYTES", "RpcError", "Status", "as_rpc_error", "leaves", "shortened"]

MAX_MESSAGE_BYTES = 1024
"""The sentence travels in the trailers; clients refuse trailers above 8 to 16 kB, and %-encoding trebles it."""

MAX_DETAILS_BYTES = 3072
"""Base64 makes this 4 kB; together with the sentence it stays below 8 kB."""


class RpcError(Exception):
    """A call is refused or has failed, and the caller is told why.

    Args:
        status: The gRPC status code.
        message: One sentence that says what happened and what to do; cut to `MAX_MESSAGE_BYTES`.
        details: An encoded google.rpc.Status, if there is one; dropped when larger than `MAX_DETAILS_BYTES`.
    """

    def __init__(self, status: Status, message: str, details: bytes | None = None) -> None:
        self.status = status
        self.message = shortened(message)
        self.details = details if details is not None and len(details) <= MAX_DETAILS_BYTES else None
        super().__init__(f"{status.name}: {self.message}")


def shortened(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """Cut a text to `limit` bytes of UTF-8, never within a character."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode("utf-8", "ignore") + "..."


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that a (nested) group consists of; the error itself when it is no group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def as_rpc_error(error: BaseException) -> RpcError:
    """Translate what a handler raised into what its caller may know.

    A refusal raised inside a nursery arrives as a group of one: it means what it meant inside. Everything else is a
    fault of the handler: INTERNAL, without the text of the error, which may hold what the caller must not see.
    """
    found = list(leaves(error))
    only = found[0] if len(found) == 1 else None
    if isinstance(only, RpcError):
        return only
    if isinstance(only, GRPCError):
        return RpcError(only.status, only.message or "")
    name = type(only if only is not None else error).__name__
    return RpcError(Status.INTERNAL, f"The server failed to handle the call ({name}); its log says why.")
