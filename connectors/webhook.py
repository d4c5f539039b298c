"""The webhook connector: a task is one HTTP request, made with what flytekit's webhook task says.

The result is the output `info`: `status_code`, `response_data`, and on demand `input_data` and `url`. Any status but
200 fails the task, as it does with flytekit; a redirect is not followed, since it would carry the headers elsewhere.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import trio

from flytower.connectors.base import SyncConnectorBase
from flytower.connectors.policy import Policy
from flytower.connectors.registry import ConnectorRegistry

if TYPE_CHECKING:
    import httpx

    from flytower.connectors.resource import Resource
    from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate

CALL = "flytower.connectors.webhook_call"
"""What a task does."""


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
        await _import_call()
        from flytower.connectors.webhook_call import call  # noqa: PLC0415 - only its users pay for it

        return await call(task_template, inputs, self._transport)


async def _import_call() -> None:
    """Have the first task import httpx, in a thread: it takes long enough for other tasks to notice."""
    if CALL not in sys.modules:
        await trio.to_thread.run_sync(importlib.import_module, CALL)


ConnectorRegistry.register(WebhookConnector())
