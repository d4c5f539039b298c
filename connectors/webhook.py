"""The webhook connector: a task is one HTTP request, made with what flytekit's webhook task says.

The result is the output `info`: `status_code`, `response_data`, and on demand `input_data` and `url`. Any status but
200 fails the task, as it does with flytekit; a redirect is not followed, since it would carry the headers elsewhere.
"""

from __future__ import annotations

import importlib
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

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
    import httpx

    from flytower.protocol.generated.flyteidl.core import TaskTemplate

QUOTED_LIMIT = 1_000
"""Characters of a failed request's response that are quoted."""


HTTP = "flytower.connectors.webhook_http"
"""What makes the requests."""


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
        await _import_http()
        from flytower.connectors.webhook_http import RequestError, send  # noqa: PLC0415 - only its users pay for it

        try:
            status, text = await send(request, self._transport)
        except RequestError as error:
            return _failed(f"Webhook failed: {error}")
        return _result(request, status, text)


async def _import_http() -> None:
    """Have the first task import httpx, in a thread: it takes long enough for other tasks to notice."""
    if HTTP not in sys.modules:
        await trio.to_thread.run_sync(importlib.import_module, HTTP)


def _result(request: WebhookRequest, status: int, text: str) -> Resource:
    if status != HTTPStatus.OK:
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


ConnectorRegistry.register(WebhookConnector())
