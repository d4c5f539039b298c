"""What a webhook task does: its request, and what becomes of the response."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flytower.connectors.errors import InvalidRequest
from flytower.connectors.resource import Resource, TaskExecution
from flytower.connectors.webhook_http import RequestError, send
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


async def call(
    template: TaskTemplate, inputs: LiteralMap | None, transport: httpx.AsyncBaseTransport | None
) -> Resource:
    """Make the request. Whatever goes wrong with it is the task's failure, not the connector's."""
    try:
        request = request_of(template, inputs)
    except InvalidRequest as error:
        return _failed(str(error))
    try:
        status, text = await send(request, transport)
    except RequestError as error:
        return _failed(f"Webhook failed: {error}")
    return _result(request, status, text)


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
