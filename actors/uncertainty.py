"""Which errors of a call leave open whether the external system has done what it was asked.

A request that was refused, or never sent, has changed nothing. One whose answer was lost on the way may have created a
job, and who takes that for a plain failure loses it. Errors are recognised by the names of their classes, so that none
of the libraries has to be installed; what an author wraps is found behind `raise ... from`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST_CAUSE = 10
"""Causes of an error that are looked at: a chain that is longer is a loop, or nobody reads it."""

OPEN_STATUS = frozenset({502, 504})
"""HTTP: a gateway got no good answer from the server behind it, which may have acted (RFC 9110, 15.6.3 and 15.6.5)."""

NEVER_SENT = (ConnectionRefusedError,)
"""Built-in errors that say that nothing has reached the external system."""

BROKEN_OFF = (ConnectionError, TimeoutError, EOFError, trio.BrokenResourceError, trio.TooSlowError)
"""Built-in errors of a conversation that broke off. asyncio's and requests' own are subclasses of these."""

NEVER_SENT_NAMES = frozenset(
    {
        "httpx.ConnectError",
        "httpx.ConnectTimeout",
        "httpx.PoolTimeout",
        "aiohttp.client_exceptions.ClientConnectorError",
        "aiohttp.client_exceptions.ConnectionTimeoutError",
        "requests.exceptions.ConnectTimeout",
        "urllib3.exceptions.NewConnectionError",
        "urllib3.exceptions.ConnectTimeoutError",
        "botocore.exceptions.ConnectTimeoutError",
        "botocore.exceptions.EndpointConnectionError",
    }
)
"""Errors of the usual clients that come before the request has left."""

BROKEN_OFF_NAMES = frozenset(
    {
        "httpx.NetworkError",
        "httpx.TimeoutException",
        "httpx.RemoteProtocolError",
        "aiohttp.client_exceptions.ServerDisconnectedError",
        "aiohttp.client_exceptions.ClientOSError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "http.client.HTTPException",
        "requests.exceptions.Timeout",
        "requests.exceptions.ChunkedEncodingError",
        "urllib3.exceptions.ProtocolError",
        "urllib3.exceptions.ReadTimeoutError",
        "botocore.exceptions.ReadTimeoutError",
        "botocore.exceptions.ConnectionClosedError",
        "google.api_core.exceptions.DeadlineExceeded",
        "google.api_core.exceptions.RetryError",
    }
)
"""Errors of the usual clients that come after it may have."""


def leaves_outcome_open(error: BaseException) -> bool:
    """Whether the external system may have done what it was asked, although the call raised this."""
    for cause in _causes(error):  # requests says what it was in the cause only
        names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(cause).__mro__}
        if isinstance(cause, NEVER_SENT) or names & NEVER_SENT_NAMES:
            return False
        if isinstance(cause, BROKEN_OFF) or names & BROKEN_OFF_NAMES or _status(cause) in OPEN_STATUS:
            return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it was raised from, as a traceback would show it."""
    cause: BaseException | None = error
    for _ in range(DEEPEST_CAUSE):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _status(error: BaseException) -> object:
    """Return the HTTP status that an error carries: on itself (aiohttp) or on its response (httpx, requests)."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else getattr(getattr(error, "response", None), "status_code", None)
