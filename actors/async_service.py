"""AsyncAgentService: each RPC becomes a message to the actor of a task, or is answered from what it published."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from flytower.actors.answers import own_resource
from flytower.actors.events import CreateAsked, DeleteAsked, ReadAsked, Superseded, Wanted
from flytower.actors.fingerprint import Fingerprints
from flytower.actors.identity import Identity, decode_reference_untrusted, identify
from flytower.actors.replies import CreateReply, DeleteReply, ReadReply
from flytower.connectors.category import TaskCategory
from flytower.connectors.errors import ResourceMetaError
from flytower.protocol.calls import Streaming, Unary
from flytower.protocol.decode import not_known
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.received import received
from flytower.protocol.routes import ASYNC_AGENT_SERVICE, service_methods
from flytower.protocol.status import RpcError, Status
from flytower.runtime.host_errors import HostError, HostStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flytower.actors.connector_host import ConnectorHost
    from flytower.actors.directory import Directory, Entry
    from flytower.actors.metrics import Metrics
    from flytower.actors.registry import Routes
    from flytower.connectors.bound import Bound
    from flytower.protocol.calls import Call, Method, Pending, Stream
    from flytower.protocol.generated.flyteidl import admin
    from flytower.runtime.timers import Timers

PROVISIONAL_SHARE = 0.8
"""Share of the caller's deadline after which it gets a provisional answer: the rest is for the way back."""

FIRST_ANSWER_SECONDS = 5.0
"""How long a GetTask without a deadline waits for a task's first answer before it is told that there is none yet."""


class About(NamedTuple):
    """What a call is, for whoever counts calls."""

    task_type: str
    operation: str


class AsyncConnectorService:
    """The handlers of CreateTask, GetTask, DeleteTask, GetTaskMetrics and GetTaskLogs.

    Args:
        routes: Returns the routing table as it is now.
        hosts: The running host of each category; the node's supervisor keeps it up to date.
        directory: Where tasks are found.
        timers: The node's timers.
        metrics: Where requests are measured.
        new_id: Makes a key for a task that nothing identifies.
    """

    def __init__(
        self,
        routes: Callable[[], Routes],
        hosts: Mapping[TaskCategory, ConnectorHost],
        directory: Directory,
        timers: Timers,
        metrics: Metrics,
        new_id: Callable[[], str],
    ) -> None:
        self._routes = routes
        self._hosts = hosts
        self._directory = directory
        self._timers = timers
        self._metrics = metrics
        self._new_id = new_id
        self._fingerprints = Fingerprints()

    def methods(self) -> list[Method]:
        """Return the methods for the server."""
        found: list[Method] = []
        for method in service_methods(ASYNC_AGENT_SERVICE):
            handler = getattr(self, method.name)
            if iscoroutinefunction(handler):
                found.append(Streaming(method.path, method.request_type, handler))
            else:
                known = self._fingerprints.known if method.request_type is CreateTaskRequest else not_known
                found.append(Unary(method.path, method.request_type, handler, known))
        return found

    def CreateTask(self, request: admin.CreateTaskRequest, call: Call) -> Pending[bytes]:  # noqa: N802 - the service's name for it
        """Create the job of a task, or join the create that is under way, or give the answer that was given."""
        if request.template is None or not request.template.type:
            raise RpcError(Status.INVALID_ARGUMENT, "The request has no task template with a type; send one.")
        category = TaskCategory(request.template.type, request.template.task_type_version)
        connector = self._connector(category, call, "create")
        self._metrics.input_bytes(category.name, _size(request))
        host = self._host(connector)
        reply = CreateReply()
        asked, withheld = self._fingerprints.of(request)
        answer_by = _share_of_deadline(call, default=float("inf"))
        identity = self._identify(category, request)
        task = self._find_or_reserve(host, identity, asked, request, withheld=withheld)
        host.ask(task, lambda promise: CreateAsked(promise, answer_by, asked, request), reply)
        return reply

    def GetTask(self, request: admin.GetTaskRequest, call: Call) -> bytes | Pending[bytes]:  # noqa: N802
        """Give the answer that the task's actor has published. Only without one does it wait, and not for long."""
        category = _category(request)
        entry = self._entry(category, request.resource_meta)
        if entry is None:
            return self._read_unknown(category, request.resource_meta, call)
        call.about = About(category.name, "get")
        asleep, host = entry.touch(trio.current_time()), self._hosts.get(category)
        if asleep and host is not None:
            host.tell(entry.task, Wanted())
        return entry.answer or self._first_answer(entry, call)

    def DeleteTask(self, request: admin.DeleteTaskRequest, call: Call) -> Pending[bytes]:  # noqa: N802
        """Record that the task is to be deleted; the reply follows as soon as that is durable."""
        category, meta = _category(request), request.resource_meta
        connector = self._connector(category, call, "delete")
        host, reply = self._host(connector), DeleteReply()
        entry = self._entry(category, meta)
        if entry is None and decode_reference_untrusted(meta) is not None:
            reply.resolve(b"")  # a reservation that is not known has no job that could be deleted
            return reply
        task = entry.task if entry is not None else self._adopt(connector, host.adopt_to_delete, meta)
        host.ask(task, DeleteAsked, reply)
        return reply

    async def GetTaskMetrics(self, call: Call, stream: Stream) -> None:  # noqa: N802
        """Ask the connector for metrics of the job."""
        request: admin.GetTaskMetricsRequest = await the_request(stream)
        category = _category(request)
        connector = self._connector(category, call, "metrics")
        meta = self._external_meta(category, request.resource_meta)
        await stream.send(await self._host(connector).passage.metrics(meta, request))

    async def GetTaskLogs(self, call: Call, stream: Stream) -> None:  # noqa: N802
        """Stream the job's log lines as the connector gives them."""
        request: admin.GetTaskLogsRequest = await the_request(stream)
        category = _category(request)
        connector = self._connector(category, call, "logs")
        meta = self._external_meta(category, request.resource_meta)
        await self._host(connector).passage.logs(meta, request, stream)

    def _entry(self, category: TaskCategory, meta: bytes) -> Entry | None:
        """Return the entry of the task that a resource_meta names, be it by a reference that was never indexed."""
        entry = self._directory.named(category, meta)
        if entry is None and (task := decode_reference_untrusted(meta)) is not None:
            entry = self._directory.get(task)
        return entry if entry is None or entry.category == category else None

    def _connector(self, category: TaskCategory, call: Call, operation: str) -> Bound:
        call.about = About("unknown", operation)
        connector = self._routes().lookup(category)
        call.about = About(category.name, operation)
        if connector.is_sync:
            raise RpcError(
                Status.UNIMPLEMENTED,
                f"{category} is served by a sync connector; call ExecuteTaskSync, or deploy an async one.",
            )
        return connector

    def _host(self, served: Bound | Entry) -> ConnectorHost:
        host = self._hosts.get(served.category)
        if host is None:
            raise RpcError(Status.UNAVAILABLE, f"The connector of {served.category} is restarting; try again.")
        return host

    def _identify(self, category: TaskCategory, request: admin.CreateTaskRequest) -> Identity:
        metadata = request.task_execution_metadata
        execution = metadata.task_execution_id if metadata is not None else None
        identity = identify(category, request.output_prefix, received(execution) if execution is not None else b"")
        return identity or Identity(f"anonymous:{self._new_id()}", "", 0)

    def _find_or_reserve(
        self, host: ConnectorHost, identity: Identity, asked: str, request: admin.CreateTaskRequest, *, withheld: bool
    ) -> str:
        entry = self._directory.current(identity.key)
        if entry is not None and not entry.state.freed:
            return entry.task
        try:
            generation = 1 if entry is None else entry.state.generation + 1
            task = host.reserve(identity, generation, asked, request, withheld=withheld)
        except HostError as error:
            raise _not_taken(error) from error
        born = self._directory.get(task)
        if born is not None:
            for earlier in self._directory.earlier(born):
                host.tell(earlier.task, Superseded())
        return task

    def _adopt(self, connector: Bound, birth: Callable[[bytes], str], meta: bytes) -> str:
        """Begin an actor for a job that is known by its resource_meta only."""
        try:
            connector.decode(meta)
            return birth(meta)
        except ResourceMetaError as error:
            raise RpcError(
                Status.INVALID_ARGUMENT, f"The resource_meta is none of {connector.category}: {error}"
            ) from error
        except HostError as error:
            raise _not_taken(error) from error

    def _read_unknown(self, category: TaskCategory, meta: bytes, call: Call) -> bytes | Pending[bytes]:
        connector = self._connector(category, call, "get")
        reply = ReadReply()
        if decode_reference_untrusted(meta) is not None:
            text = "This reservation is not in the server's ledger; whether its job exists cannot be told."
            reply.resolve(own_resource(Phase.RETRYABLE_FAILED, text))
            return reply
        entry = self._directory.get(self._adopt(connector, self._host(connector).adopt, meta))
        if entry is None:
            raise RpcError(Status.UNAVAILABLE, "The task's actor ended before it answered; try again.")
        entry.touch(trio.current_time())
        return entry.answer or self._first_answer(entry, call)

    def _first_answer(self, entry: Entry, call: Call) -> Pending[bytes]:
        """Wait for the first answer, until the caller's deadline is near; then say that there is none yet."""
        reply = ReadReply()
        self._host(entry).ask(entry.task, ReadAsked, reply)
        if not reply.done:
            by = _share_of_deadline(call, default=call.started + FIRST_ANSWER_SECONDS)
            alarm = self._timers.at(by, lambda: reply.resolve(_no_answer_yet(entry)))
            reply.add_done_callback(lambda _: alarm.cancel())
        return reply

    def _external_meta(self, category: TaskCategory, meta: bytes) -> bytes:
        """Return the connector's own resource_meta of the job that a request names."""
        entry = self._entry(category, meta)
        if entry is None:
            if decode_reference_untrusted(meta) is not None:
                raise RpcError(Status.NOT_FOUND, "This reservation is not in the server's ledger.")
            return meta
        if entry.state.meta is None:
            raise RpcError(Status.UNAVAILABLE, "The job is still being created; try again later.")
        return entry.state.meta


async def the_request(stream: Stream) -> Any:
    """Return the one request message of a call.

    Raises:
        RpcError: The client closed its side without sending one.
    """
    request = await stream.receive()
    if request is None:
        raise RpcError(Status.INVALID_ARGUMENT, "This method takes one request message; none came.")
    return request


def _category(
    request: admin.GetTaskRequest | admin.DeleteTaskRequest | admin.GetTaskLogsRequest | admin.GetTaskMetricsRequest,
) -> TaskCategory:
    """Route on task_category when it is named, else on the deprecated task_type, whose version is 0.

    Flyte 1's clients send both, and the version only in the category (flyteidl/admin/agent.proto).
    """
    category = request.task_category
    if category is not None and category.name:
        return TaskCategory(category.name, category.version)
    return TaskCategory(request.task_type, 0)


def _not_taken(error: HostError) -> RpcError:
    """Say why a host takes no further task; one that stops is followed by another."""
    if isinstance(error, HostStopped):
        return RpcError(Status.UNAVAILABLE, "The connector is restarting; try again.")
    return RpcError(Status.RESOURCE_EXHAUSTED, f"No room for another task: {error}")


def _share_of_deadline(call: Call, default: float) -> float:
    if call.deadline is None:
        return default
    return call.started + PROVISIONAL_SHARE * (call.deadline - call.started)


def _no_answer_yet(entry: Entry) -> bytes:
    phase = Phase.INITIALIZING if entry.state.key else Phase.RUNNING
    return own_resource(phase, "The external system has not told the job's status yet.")


def _size(request: admin.CreateTaskRequest) -> int:
    return len(received(request.inputs)) if request.inputs is not None else 0
