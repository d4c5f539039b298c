"""The webhook connector: a task is one HTTP request, made with what flytekit's webhook task says.

The result is the output `info`: `status_code`, `response_data`, and on demand `input_data` and `url`. Any status but
200 fails the task, as it does with flytekit; a redirect is not followed, since it would carry the headers elsewhere.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import httpx
import trio

from flytower.connectors.base import SyncConnectorBase
from flytower.connectors.errors import InvalidRequest
from flytower.connectors.policy import Policy
from flytower.connectors.registry import ConnectorRegistry
from flytower.connectors.resource import Resource, TaskExecution
from flytower.connectors.webhook_request import WebhookRequest, request_of
from flytower.protocol.generated.flyteidl.core import Binary, Literal, LiteralMap, Scalar
from flytower.protocol.literal_msgpack import MSGPACK_TAG, pack
from flytower.protocol.scrub import scrub
from flytower.protocol.value_path import ValuePath

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from flytower.protocol.generated.flyteidl.core import TaskTemplate

RESPONSE_LIMIT = 1024 * 1024
"""Bytes of a response. It becomes an output, and outputs travel in a message of at most 4 MiB."""

QUOTED_LIMIT = 1_000
"""Characters of a failed request's response that are quoted."""

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


class WebhookConnector(SyncConnectorBase):
    """Makes HTTP requests.

    Args:
        transport: What carries the requests, for a server with a proxy or certificates of its own; None for httpx's.
    """

    name = "Webhook Connector"
    policy = Policy(do_timeout=60.0)

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(task_type_name="webhook")
        self._transport = transport

    async def do(
        self,
        task_template: TaskTemplate,
        output_prefix: str,  # noqa: ARG002 - given to every connector
        inputs: LiteralMap | None = None,
        **_kwargs: Any,
    ) -> Resource:
        """Make the request. Whatever goes wrong with it is the task's failure, not the connector's."""
        try:
            request = request_of(task_template, inputs)
        except InvalidRequest as error:
            return _failed(str(error))
        try:
            with trio.fail_after(request.timeout):
                status, text = await self._send(request)
        except trio.TooSlowError:
            return _failed(f"Webhook failed: no complete answer within {request.timeout:g} s")
        except _ResponseTooLong:
            return _failed(f"Webhook failed: the response is longer than {RESPONSE_LIMIT} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, TypeError, ValueError) as error:
            return _failed(f"Webhook failed: {_problem(error)}")
        return _result(request, status, text)

    async def _send(self, request: WebhookRequest) -> tuple[int, str]:
        # A client for each request: no cookie and no connection of one task is ever seen by another.
        async with httpx.AsyncClient(
            verify=_ssl_context(), transport=self._transport, timeout=request.timeout, follow_redirects=False
        ) as client:
            body: dict[str, Any] = {"params": request.data} if request.method == "GET" else {"json": request.data}
            # Uncompressed, so that the limit on the response is one on what is read, too.
            headers = httpx.Headers(request.headers)
            headers["Accept-Encoding"] = "identity"
            async with client.stream(request.method, request.url, headers=headers, **body) as response:
                return response.status_code, _decode(response, await _read(response))


class _ResponseTooLong(Exception):  # noqa: N818 - it never leaves this module
    """The response has more bytes than RESPONSE_LIMIT."""


async def _read(response: httpx.Response) -> bytes:
    data = bytearray()
    # Ended by a cancellation, not by leaving the loop: only that closes the generators inside of httpx.
    with trio.CancelScope() as scope:
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > RESPONSE_LIMIT:
                scope.cancel()
    if len(data) > RESPONSE_LIMIT:
        raise _ResponseTooLong
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


def _result(request: WebhookRequest, status: int, text: str) -> Resource:
    if status != httpx.codes.OK:
        quoted = scrub(text, request.secrets())
        shortened = quoted if len(quoted) <= QUOTED_LIMIT else f"{quoted[:QUOTED_LIMIT]}..."
        return _failed(f"Webhook failed with status code {status}, response: {shortened}")
    info: dict[str, Any] = {"status_code": status, "response_data": text}
    if request.show_data:
        info["input_data"] = request.data
    if request.show_url:
        info["url"] = request.url
    outputs = LiteralMap(literals={"info": _dictionary(info)})
    return Resource(phase=TaskExecution.SUCCEEDED, outputs=outputs, message="Webhook was successfully invoked!")


def _dictionary(value: dict[str, Any]) -> Literal:
    """Return the literal of an untyped dictionary, which the output `info` is declared as: msgpack, not a map."""
    return Literal(scalar=Scalar(binary=Binary(value=pack(value, ValuePath("info")), tag=MSGPACK_TAG)))


def _failed(message: str) -> Resource:
    return Resource(phase=TaskExecution.FAILED, message=message)


def _problem(error: Exception) -> str:
    return next(_known_problems(error), f"the request cannot be made ({type(error).__name__})")


def _known_problems(error: Exception) -> Iterator[str]:
    return (text for kind, text in _PROBLEMS if isinstance(error, kind))


ConnectorRegistry.register(WebhookConnector())
