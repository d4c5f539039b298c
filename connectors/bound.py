"""A registered connector as the server calls it: bytes and messages in and out, Exceptions only."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
import trio

from flytower.connectors.base import AsyncConnectorBase, ConnectorBase, SyncConnectorBase
from flytower.connectors.errors import (
    ConnectorContractError,
    ConnectorError,
    ConnectorMethodNotImplemented,
    InvalidResource,
    ResourceMetaError,
)
from flytower.connectors.flavour import Method, flavour_of
from flytower.connectors.identity import identity_of
from flytower.connectors.logs import LineLimit, stream_messages
from flytower.connectors.metrics import metrics_message
from flytower.connectors.policy import Policy, Recovery
from flytower.connectors.resource import Resource, check_message, is_terminal
from flytower.connectors.resource_meta import ResourceMeta
from flytower.connectors.signature import Accepted, inspect_method
from flytower.protocol.decode import own
from flytower.protocol.encode import encoded
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.received import is_shared, worked_out

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from datetime import datetime, timedelta

    from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskExecutionPhase, TaskTemplate


log = structlog.get_logger(__name__)

CLEAN_UP_SECONDS = 30.0
"""How long the delete of a job may take whose metadata cannot be encoded: the default of `delete_timeout`."""

_OFFERED: dict[str, tuple[str, ...]] = {
    "create": ("task_template", "output_prefix", "inputs", "task_execution_metadata", "idempotency_key"),
    "get": ("resource_meta", "output_prefix"),
    "delete": ("resource_meta",),
    "get_metrics": ("resource_meta", "queries", "start_time", "end_time", "step"),
    "get_logs": ("resource_meta", "token", "lines"),
    "find": ("key",),
    "do": ("task_template", "output_prefix", "inputs"),
}
"""What the server has to give to each method."""

_SUBJECT = {"get": "resource_meta", "delete": "resource_meta", "get_metrics": "resource_meta"}
_SUBJECT |= {"get_logs": "resource_meta", "find": "key"}

_OPTIONAL = ("get_metrics", "get_logs", "find")


class Capabilities(NamedTuple):
    """What a connector can do, and what its `create` has room for."""

    metrics: bool = False
    logs: bool = False
    find: bool = False
    idempotency_key: bool = False


class Bound:
    """One registered connector. Made at registration, when everything about it is looked up and checked.

    Its coroutines run from trio and raise nothing but Exceptions and trio's cancellation. Timeouts, rates and
    concurrency are the caller's; `policy` says what the author wants. Threads are limited here (`thread_limit`).

    Raises:
        ConnectorContractError: The connector is not what the interface asks for.
    """

    def __init__(self, connector: AsyncConnectorBase | SyncConnectorBase) -> None:
        self.name, self.category = identity_of(connector)
        self.connector = connector
        self.is_sync = isinstance(connector, SyncConnectorBase)
        self.policy: Policy = connector.policy
        self._metadata_type = connector.metadata_type if isinstance(connector, AsyncConnectorBase) else None
        self.limiter = trio.CapacityLimiter(self.policy.thread_limit)
        self._methods: dict[str, tuple[Method, Accepted]] = {}
        for method in ("do",) if self.is_sync else ("create", "get", "delete", *_OPTIONAL):
            if method not in _OPTIONAL or _is_overridden(connector, method):
                self._methods[method] = self._bind(method)
        get = self._methods.get("get")
        self._get_by_name = get[0] if get is not None and not get[1].first else None  # what each poll calls
        self.capabilities = self._find_capabilities()
        self._check_recovery()

    def __repr__(self) -> str:
        return f"<Bound {self.name!r} for {self.category}>"

    # ---- asynchronous connectors ------------------------------------------------------------------------------

    async def create(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: LiteralMap | None,
        task_execution_metadata: admin.TaskExecutionMetadata | None,
        idempotency_key: str,
    ) -> bytes:
        """Start the job, and return its encoded metadata.

        Raises:
            ResourceMetaError: What the connector returned cannot be encoded; the job was deleted again if possible.
            ConnectorContractError: It returned no ResourceMeta.
            Exception: Whatever the connector raised.
        """
        meta = await self._call(
            "create",
            task_template=task_template if self.connector.shares_templates else own(task_template),
            output_prefix=output_prefix,
            inputs=inputs,
            task_execution_metadata=task_execution_metadata,
            idempotency_key=idempotency_key,
        )
        try:
            return self._encode("create", meta)
        except ConnectorError:
            await self._delete_unnamed(meta)
            raise

    async def find(self, key: str) -> bytes | None:
        """Look a job up by its idempotency key; its encoded metadata, or None when there is no such job."""
        meta = await self._call("find", key=key)
        return None if meta is None else self._encode("find", meta)

    async def get(self, meta: bytes, *, output_prefix: str = "") -> admin.Resource:
        """Ask for the state of the job: one call to the external system.

        Raises:
            ResourceMetaError: The bytes are no metadata of this connector.
            InvalidResource: The answer may not be shown to Flyte.
            Exception: Whatever the connector raised.
        """
        extra = {"output_prefix": output_prefix} if output_prefix else {}
        return self._resource("get", await self._call("get", resource_meta=self.decode(meta), **extra))

    async def status(self, meta: bytes) -> tuple[TaskExecutionPhase, bytes]:
        """Ask for the state of the job like `get`, by the shortest way, for it is asked for ever again.

        Returns:
            The phase, and the encoded Resource.
        """
        if self._get_by_name is not None:
            answer = await self._get_by_name(resource_meta=self.decode(meta))
        else:
            answer = await self._call("get", resource_meta=self.decode(meta))
        if type(answer) is Resource:
            return answer.encode()
        message = self._resource("get", answer)
        return message.phase, worked_out(message, encoded) if is_shared(message) else encoded(message)

    async def delete(self, meta: bytes) -> None:
        """End the job. JobNotFound comes out as it is; the caller takes it for success."""
        await self._call("delete", resource_meta=self.decode(meta))

    async def metrics(
        self,
        meta: bytes,
        *,
        queries: Sequence[str] = (),
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        step: timedelta | None = None,
    ) -> admin.GetTaskMetricsResponse:
        """Return the job's metrics.

        Raises:
            ConnectorMethodNotImplemented: The connector has none.
        """
        asked = {"queries": list(queries), "start_time": start_time, "end_time": end_time, "step": step}
        return metrics_message(await self._call("get_metrics", resource_meta=self.decode(meta), **asked))

    async def logs(
        self, meta: bytes, *, token: str = "", lines: int = 0
    ) -> AsyncGenerator[admin.GetTaskLogsResponse, None]:
        """Yield the job's log as messages: first a header with a token where the connector gives one, then lines.

        An async generator: read it inside `async with contextlib.aclosing(bound.logs(meta)) as stream`.

        Raises:
            ConnectorMethodNotImplemented: The connector has no logs.
        """
        method, arguments = self._prepare("get_logs", resource_meta=self.decode(meta), token=token, lines=lines)
        limit = LineLimit(0 if self._methods["get_logs"][1].takes("lines") else lines)
        try:
            async with contextlib.aclosing(stream_messages(method, arguments)) as stream:
                async for message in stream:
                    yield limit.apply(message)
                    if limit.reached:
                        return
        except ConnectorMethodNotImplemented:
            raise
        except NotImplementedError as error:
            raise ConnectorMethodNotImplemented(f"{self.name} has no get_logs") from error

    def decode(self, meta: bytes) -> ResourceMeta:
        """Return the metadata object for bytes from the network.

        Raises:
            ResourceMetaError: They are no metadata of this connector.
        """
        metadata_type = self._metadata_type or self._async_connector().metadata_type
        try:
            decoded = metadata_type.decode(meta)
        except ResourceMetaError:
            raise
        except BaseException as error:
            raise ResourceMetaError(f"resource_meta is no {metadata_type.__name__}: {error!r}") from error
        if not isinstance(decoded, metadata_type):
            raise ResourceMetaError(f"resource_meta is no {metadata_type.__name__}, but a {type(decoded).__name__}")
        return decoded

    # ---- synchronous connectors -------------------------------------------------------------------------------

    async def do(self, task_template: TaskTemplate, output_prefix: str, inputs: LiteralMap | None) -> admin.Resource:
        """Execute a task, and return how it ended.

        Raises:
            InvalidResource: The phase is not a terminal one; Flyte's own client would crash on it.
        """
        answer = await self._call("do", task_template=task_template, output_prefix=output_prefix, inputs=inputs)
        resource = self._resource("do", answer)
        if not is_terminal(resource.phase):
            raise InvalidResource(
                f"{self._label('do')} returned phase {resource.phase.name}; it must be a terminal one"
            )
        return resource

    # ---- inside -----------------------------------------------------------------------------------------------

    def _bind(self, name: str) -> tuple[Method, Accepted]:
        function: Callable[..., Any] = getattr(self.connector, name)
        label, declared = self._label(name), self.connector.flavour
        accepted = inspect_method(label, function, _OFFERED[name], _SUBJECT.get(name, ""))
        return Method(label, function, flavour_of(function, declared), declared, self.limiter), accepted

    def _prepare(self, name: str, **offered: Any) -> tuple[Method, dict[str, Any]]:
        if name not in self._methods:
            raise ConnectorMethodNotImplemented(f"{self.name} has no {name}")
        method, accepted = self._methods[name]
        if accepted.first:
            subject = offered.pop(_SUBJECT[name])
            method = method.with_function(_with_first(method.function, subject), method.flavour)
        return method, accepted.pick(offered)

    async def _call(self, name: str, **offered: Any) -> Any:
        method, arguments = self._prepare(name, **offered)
        try:
            return await method(**arguments)
        except NotImplementedError as error:
            if name not in _OPTIONAL or isinstance(error, ConnectorMethodNotImplemented):
                raise
            raise ConnectorMethodNotImplemented(f"{self.name} has no {name}") from error

    def _encode(self, name: str, meta: Any) -> bytes:
        if not isinstance(meta, ResourceMeta):
            raise ConnectorContractError(f"{self._label(name)} returned a {type(meta).__name__}, not a ResourceMeta")
        try:
            data = meta.encode()
        except ResourceMetaError:
            raise
        except BaseException as error:
            raise ResourceMetaError(f"{type(meta).__name__} cannot be encoded: {error!r}") from error
        if not isinstance(data, bytes):
            raise ConnectorContractError(f"encode of {type(meta).__name__} returned a {type(data).__name__}, not bytes")
        return data

    async def _delete_unnamed(self, meta: Any) -> None:
        """Delete a job that was created and cannot be named: nobody else ever could."""
        with trio.move_on_after(CLEAN_UP_SECONDS):
            try:
                await self._call("delete", resource_meta=meta)
            except Exception as error:  # noqa: BLE001 - the error that is raised is the one that led here
                what = "a job that cannot be named was not deleted"
                log.error(what, connector=self.name, error=repr(error))  # noqa: TRY400 - its traceback is the author's

    def _resource(self, name: str, answer: Any) -> admin.Resource:
        if isinstance(answer, Resource):
            return answer.to_message()
        if isinstance(answer, admin.Resource):
            return check_message(answer)
        raise ConnectorContractError(f"{self._label(name)} returned a {type(answer).__name__}, not a Resource")

    def _find_capabilities(self) -> Capabilities:
        created = self._methods.get("create")
        return Capabilities(
            metrics="get_metrics" in self._methods,
            logs="get_logs" in self._methods,
            find="find" in self._methods,
            idempotency_key=created is not None and created[1].takes("idempotency_key"),
        )

    def _check_recovery(self) -> None:
        if self.policy.recovery is Recovery.FIND and not self.capabilities.find:
            raise ConnectorContractError(f"{self.name} declares Recovery.FIND and has no method `find`")
        if self.policy.recovery is Recovery.TOKEN and not self.capabilities.idempotency_key:
            raise ConnectorContractError(
                f"{self.name} declares Recovery.TOKEN, and its create takes no `idempotency_key`"
            )

    def _async_connector(self) -> AsyncConnectorBase:
        if not isinstance(self.connector, AsyncConnectorBase):
            raise ConnectorMethodNotImplemented(f"{self.name} is synchronous: its tasks have no metadata")
        return self.connector

    def _label(self, method: str) -> str:
        return f"{method} of {self.name}"


def _is_overridden(connector: ConnectorBase, method: str) -> bool:
    return getattr(type(connector), method) is not getattr(AsyncConnectorBase, method)


def _with_first(function: Callable[..., Any], first: Any) -> Callable[..., Any]:
    return lambda **kwargs: function(first, **kwargs)
