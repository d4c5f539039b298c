"""gRPC's framing of messages on a stream: a flag, a length, the message."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeVar

import structlog

from flytower.protocol.decode import Known, decode_untrusted, not_known
from flytower.protocol.status import RpcError, Status
from flytower.protocol.wire import DecodeError

if TYPE_CHECKING:
    from betterproto2 import Message

log = structlog.get_logger(__name__)

M = TypeVar("M", bound="Message")

PREFIX_BYTES = 5
"""One byte for the compression flag, four for the length (gRPC over HTTP/2, "Length-Prefixed-Message")."""

_PREFIX = struct.Struct(">BI")


def framed(message: bytes) -> bytes:
    """Return a message as it stands on the wire."""
    return _PREFIX.pack(0, len(message)) + message


def parse_message_untrusted(message_type: type[M], data: bytes, known: Known = not_known) -> M:
    """Decode a request, but for the parts of it that are known (see `decode_untrusted`).

    Raises:
        RpcError: INVALID_ARGUMENT: the bytes are no such message. The client's fault; so is whatever else the decoder
            stumbles over, but that is logged.
    """
    try:
        return decode_untrusted(message_type, data, known=known)
    except DecodeError as error:
        name = message_type.__name__
        raise RpcError(Status.INVALID_ARGUMENT, f"The request cannot be decoded as {name}: {error}.") from error
    except Exception as error:
        name, kind = message_type.__name__, type(error).__name__
        log.exception("A request has made the decoder fail", message_type=name)
        raise RpcError(Status.INVALID_ARGUMENT, f"The request cannot be decoded as {name} ({kind}).") from error


class MessageReader:
    """Takes the bytes of one stream as they come, and gives whole messages back.

    Args:
        limit: The largest message in bytes. It is held against the announced length, before anything is kept.
    """

    __slots__ = ("_buffer", "_limit", "_wanted")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._wanted: int | None = None  # length of the message whose prefix was read

    @property
    def within_message(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer) or self._wanted is not None

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        """Take some bytes, and return the messages that are complete now.

        Raises:
            RpcError: UNIMPLEMENTED for a compressed message, RESOURCE_EXHAUSTED for one over the limit.
        """
        if not self.within_message and len(data) >= PREFIX_BYTES:
            length = self._checked_length(*_PREFIX.unpack_from(data))
            if len(data) == PREFIX_BYTES + length:  # one whole message, as nearly always
                return [data[PREFIX_BYTES:]]
        self._buffer += data
        messages: list[bytes] = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> bytes | None:
        if self._wanted is None:
            if len(self._buffer) < PREFIX_BYTES:
                return None
            self._wanted = self._checked_length(*_PREFIX.unpack_from(self._buffer))
            del self._buffer[:PREFIX_BYTES]
        if len(self._buffer) < self._wanted:
            return None
        message = bytes(self._buffer[: self._wanted])
        del self._buffer[: self._wanted]
        self._wanted = None
        return message

    def _checked_length(self, flag: int, length: int) -> int:
        if flag:
            raise RpcError(Status.UNIMPLEMENTED, "Compressed messages are not supported: send them uncompressed.")
        if length > self._limit:
            text = f"The request message has {length} bytes; at most {self._limit} are accepted."
            raise RpcError(Status.RESOURCE_EXHAUSTED, text)
        return length
