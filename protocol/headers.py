"""The headers of a gRPC request and of its response."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from grpclib.metadata import decode_bin_value, encode_bin_value, encode_grpc_message

from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

Headers: TypeAlias = "list[tuple[str, str]]"
"""What is sent."""

RawHeaders: TypeAlias = "list[tuple[bytes, bytes]]"
"""What was received."""

CONTENT_TYPE = "application/grpc+proto"

RESPONSE_HEADERS: Headers = [(":status", "200"), ("content-type", CONTENT_TYPE)]
TRAILERS_OK: Headers = [("grpc-status", "0")]

_ACCEPTED_TYPES = frozenset({b"application/grpc", b"application/grpc+proto"})
_NOT_METADATA = frozenset({b"te", b"content-type"})
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")
_MAX_PATH_BYTES = 256  # the path of a call comes up in log lines; ours have 60


class BadRequest(RpcError):  # noqa: N818 - the name that HTTP gives it
    """The headers are not those of a gRPC call that is served here. The client's fault.

    Args:
        http_status: What HTTP says to it; 200 where the headers speak gRPC, and only gRPC has something to say.
        status: The gRPC status code.
        message: One sentence for the client.
    """

    def __init__(self, http_status: int, status: Status, message: str) -> None:
        super().__init__(status, message)
        self.http_status = http_status


class RequestHead(NamedTuple):
    """What the headers of a call say.

    Args:
        path: The method that is called, "/grpc.health.v1.Health/Check".
        timeout: Seconds that the client will wait; None when it does not say.
        metadata: The headers that the client may choose; values of names in "-bin" are decoded.
    """

    path: str
    timeout: float | None
    metadata: Mapping[str, str | bytes]


def parse_head_untrusted(headers: RawHeaders) -> RequestHead:
    """Check and read the headers of a request.

    Raises:
        BadRequest: They are not those of a gRPC call.
    """
    known = dict(headers)
    if known.get(b":method") != b"POST":
        raise BadRequest(405, Status.UNKNOWN, "A gRPC call is a POST.")
    if known.get(b"content-type", b"").partition(b";")[0] not in _ACCEPTED_TYPES:
        raise BadRequest(415, Status.UNKNOWN, f"The content-type must be application/grpc or {CONTENT_TYPE}.")
    if known.get(b"te") != b"trailers":
        raise BadRequest(400, Status.UNKNOWN, 'The header "te: trailers" is missing.')
    return RequestHead(_path_untrusted(known), _timeout_untrusted(known), _metadata_untrusted(headers))


def _path_untrusted(known: Mapping[bytes, bytes]) -> str:
    return known.get(b":path", b"")[:_MAX_PATH_BYTES].decode("ascii", "backslashreplace")


def _timeout_untrusted(known: Mapping[bytes, bytes]) -> float | None:
    value = known.get(b"grpc-timeout")
    if value is None:
        return None
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise BadRequest(
            200, Status.INVALID_ARGUMENT, "The header grpc-timeout is not a number of up to 8 digits and a unit."
        )
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def _metadata_untrusted(headers: RawHeaders) -> Mapping[str, str | bytes]:
    metadata: dict[str, str | bytes] = {}
    for name, value in headers:
        if not (name.startswith((b":", b"grpc-")) or name in _NOT_METADATA):
            metadata[_text_untrusted(name)] = _value_untrusted(name, value)
    return MappingProxyType(metadata)  # several calls may share it


def _value_untrusted(name: bytes, value: bytes) -> str | bytes:
    if not name.endswith(b"-bin"):
        return _text_untrusted(value)
    try:
        return decode_bin_value(value)
    except ValueError as error:
        raise BadRequest(200, Status.INVALID_ARGUMENT, "A header with a name in -bin is not base64.") from error


def _text_untrusted(value: bytes) -> str:
    if _PRINTABLE.fullmatch(value) is None:
        raise BadRequest(200, Status.INVALID_ARGUMENT, "A header holds bytes outside of printable ASCII.")
    return value.decode("ascii")


def trailers(error: RpcError) -> Headers:
    """Return the trailers that end a call with an error."""
    fields = [("grpc-status", str(error.status.value)), ("grpc-message", encode_grpc_message(error.message))]
    if error.details is not None:
        fields.append(("grpc-status-details-bin", encode_bin_value(error.details).decode("ascii")))
    return fields


def refusal(error: RpcError) -> Headers:
    """Return the only headers of a response that has no message."""
    http_status = error.http_status if isinstance(error, BadRequest) else 200
    head = [(":status", str(http_status)), ("content-type", CONTENT_TYPE), ("grpc-accept-encoding", "identity")]
    return head + trailers(error)
