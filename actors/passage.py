"""Calls that go straight through to the connector: do, get_metrics, get_logs. Bounded, timed, counted, contained."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import trio

from flytower.actors.failures import describe
from flytower.actors.secrets import secrets_of
from flytower.connectors.errors import ConnectorMethodNotImplemented, InvalidRequest, JobNotFound, ResourceMetaError
from flytower.protocol.codec import duration_to_timedelta, timestamp_to_datetime
from flytower.protocol.generated.flyteidl.admin import (
    ExecuteTaskSyncResponse,
    ExecuteTaskSyncResponseHeader,
    GetTaskMetricsResponse,
)
from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from flytower.actors.metrics import Metrics
    from flytower.connectors.bound import Bound
    from flytower.protocol.calls import Stream
    from flytower.protocol.generated.flyteidl.admin import GetTaskLogsRequest, GetTaskMetricsRequest
    from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate


class Passage:
    """The way through to one connector, for calls that no task actor makes.

    Args:
        connector: Where the calls go.
        metrics: Where they are counted.
    """

    def __init__(self, connector: Bound, metrics: Metrics) -> None:
        self._connector = connector
        self._metrics = metrics
        self._under_way = 0  # calls inside `_bounded`, changed only there

    async def execute(self, template: TaskTemplate, prefix: str, inputs: LiteralMap | None) -> ExecuteTaskSyncResponse:
        """Run a sync connector's `do`; its one answer is terminal, since nobody would ask a second time.

        Raises:
            RpcError: The connector raised, took too long, or gave a phase that is not terminal.
        """
        async with self._bounded("do", self._connector.policy.do_timeout, secrets_of(template)):
            resource = await self._connector.do(template, prefix, inputs)
        return ExecuteTaskSyncResponse(header=ExecuteTaskSyncResponseHeader(resource=resource))

    async def metrics(self, meta: bytes, request: GetTaskMetricsRequest) -> GetTaskMetricsResponse:
        """Ask for the metrics of a job."""
        async with self._bounded("metrics", self._connector.policy.get_timeout):
            return await self._connector.metrics(
                meta,
                queries=request.queries,
                start_time=timestamp_to_datetime(request.start_time) if request.start_time else None,
                end_time=timestamp_to_datetime(request.end_time) if request.end_time else None,
                step=duration_to_timedelta(request.step) if request.step else None,
            )

    async def logs(self, meta: bytes, request: GetTaskLogsRequest, stream: Stream) -> None:
        """Send the log of a job, message by message, at the speed at which the client reads."""
        messages = self._connector.logs(meta, token=request.token, lines=request.lines)
        async with self._bounded("logs", self._connector.policy.logs_timeout), aclosing(messages):
            async for message in messages:
                await stream.send(message)

    @asynccontextmanager
    async def _bounded(self, operation: str, seconds: float, secrets: Iterable[str] = ()) -> AsyncIterator[None]:
        if self._under_way >= self._connector.policy.concurrency:
            raise RpcError(Status.RESOURCE_EXHAUSTED, f"{self._connector.name} has enough to do; try again later.")
        self._under_way += 1
        started, outcome = trio.current_time(), "error"
        try:
            with trio.fail_after(seconds):
                yield
            outcome = "ok"
        except RpcError:
            raise
        except Exception as error:
            raise self._translated(operation, error, secrets) from error
        finally:
            self._under_way -= 1
            self._metrics.call_finished(
                self._connector.category.name, operation, outcome, trio.current_time() - started
            )

    def _translated(self, operation: str, error: Exception, secrets: Iterable[str]) -> RpcError:
        name = self._connector.category.name
        if isinstance(error, ConnectorMethodNotImplemented):
            return RpcError(Status.UNIMPLEMENTED, f"The connector of {name} tasks has no {operation}.")
        if isinstance(error, JobNotFound):
            return RpcError(Status.NOT_FOUND, f"The external system does not know this {name} job.")
        if isinstance(error, trio.TooSlowError):
            return RpcError(Status.DEADLINE_EXCEEDED, f"The connector of {name} tasks did not answer in time.")
        text = describe(error, secrets)
        if isinstance(error, ResourceMetaError | InvalidRequest):
            return RpcError(Status.INVALID_ARGUMENT, f"The request is none for {name} tasks: {text}")
        return RpcError(Status.INTERNAL, f"failed to {operation} {name} task with error:\n {text}.")
