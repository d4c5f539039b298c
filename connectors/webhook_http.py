"""Making the webhook connector's requests, with httpx: imported when the first one is made."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import httpx
import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from flytower.connectors.webhook_request import WebhookRequest

RESPONSE_LIMIT = 1024 * 1024
"""Bytes of a response. It becomes an output, and outputs travel in a message of at most 4 MiB."""

for _name in ("httpx", "httpcore"):
    # They log each URL (INFO) and each header (DEBUG), tokens included, whatever level the server's own logs have.
    logging.getLogger(_name).setLevel(logging.WARNING)

_PROBLEMS: tuple[tuple[type[Exception], str], ...] = (
    (httpx.ConnectError, "the host cannot be reached"),
    (httpx.TimeoutException, "the host did not answer in time"),
    (httpx.ProxyError, "the proxy refused"),
    (httpx.RemoteProtocolError, "the host does not speak HTTP as it should"),
    (httpx.NetworkError, "the connection broke"),
)
"""What to say instead of httpx's own words, which may quote URLs and headers."""


class RequestError(Exception):
    """There is no complete answer. The message says why, without the request's secrets."""


async def send(request: WebhookRequest, transport: httpx.AsyncBaseTransport | None) -> tuple[int, str]:
    """Make a request, and return the status and the text of its answer.

    Raises:
        RequestError: It cannot be made, or is not answered as it should be.
    """
    try:
        with trio.fail_after(request.timeout):
            return await _exchange(request, transport)
    except trio.TooSlowError:
        raise RequestError(f"no complete answer within {request.timeout:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, TypeError, ValueError) as error:
        raise RequestError(_problem(error)) from error


async def _exchange(request: WebhookRequest, transport: httpx.AsyncBaseTransport | None) -> tuple[int, str]:
    # A client for each request: no cookie and no connection of one task is ever seen by another.
    async with httpx.AsyncClient(
        verify=_ssl_context(), transport=transport, timeout=request.timeout, follow_redirects=False
    ) as client:
        body: dict[str, Any] = {"params": request.data} if request.method == "GET" else {"json": request.data}
        # Uncompressed, so that the limit on the response is one on what is read, too.
        headers = httpx.Headers(request.headers)
        headers["Accept-Encoding"] = "identity"
        async with client.stream(request.method, request.url, headers=headers, **body) as response:
            return response.status_code, _decode(response, await _read(response))


async def _read(response: httpx.Response) -> bytes:
    data = bytearray()
    # Ended by a cancellation, not by leaving the loop: only that closes the generators inside of httpx.
    with trio.CancelScope() as scope:
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > RESPONSE_LIMIT:
                scope.cancel()
    if len(data) > RESPONSE_LIMIT:
        raise RequestError(f"the response is longer than {RESPONSE_LIMIT} bytes")
    return bytes(data)


def _decode(response: httpx.Response, data: bytes) -> str:
    try:
        return data.decode(response.charset_encoding or "utf-8", errors="replace")
    except LookupError:  # the host names a charset that does not exist
        return data.decode(errors="replace")


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """Load the certificates once: it takes as long as a request."""
    return httpx.create_ssl_context()


def _problem(error: Exception) -> str:
    return next(_known_problems(error), f"the request cannot be made ({type(error).__name__})")


def _known_problems(error: Exception) -> Iterator[str]:
    return (text for kind, text in _PROBLEMS if isinstance(error, kind))
