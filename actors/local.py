"""Running tasks without a server, on the same task actors, with a ledger in memory.

For development and tests: a class that inherits from one of the mixins has an `execute` that goes the way that a
deployed task goes (create, poll, read, or do), and returns its outputs. When it is interrupted, the external job is
deleted before the interruption goes on.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import trio

from flytower.actors.events import DeleteAsked
from flytower.actors.identity import identify
from flytower.actors.local_node import local_node
from flytower.actors.local_progress import Progress
from flytower.actors.local_run import DELETE_SECONDS, LocalRun, ctrl_c_interrupts, sigterm_interrupts
from flytower.actors.task import TERMINAL, Stage
from flytower.connectors.category import TaskCategory
from flytower.connectors.registry import ConnectorRegistry
from flytower.protocol.calls import Call
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.decode import decode_untrusted
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import Identifier, LiteralMap, TaskTemplate
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.literals import from_literal_map, to_literal_map

if TYPE_CHECKING:
    from flytower.actors.directory import Entry
    from flytower.actors.node import Node
    from flytower.connectors.bound import Bound
    from flytower.protocol.calls import Pending

OUTPUTS_FILE = "outputs.pb"
"""Where a task leaves its outputs under the output prefix (flytekit/core/constants.py)."""

READ_SECONDS = 0.1
"""Seconds between two reads of the published answer: what a person at a terminal takes for at once."""

Heard = Callable[[admin.Resource], object]
"""Called with each new answer of a running task."""


class LocalExecutionFailed(Exception):  # noqa: N818 - the task failed, not this program
    """The task ended in another phase than SUCCEEDED.

    Args:
        resource: Its last answer.
    """

    def __init__(self, resource: admin.Resource) -> None:
        super().__init__(f"the task ended {resource.phase.name}: {resource.message or 'its connector gave no reason'}")
        self.resource = resource


class LocalTimeout(Exception):  # noqa: N818 - it says what happened
    """The task took longer than its template allows.

    Args:
        seconds: What it allows.
        done: What was done about it.
    """

    def __init__(self, seconds: float, done: str) -> None:
        super().__init__(f"the task did not end within {seconds:g} s; {done}")


class _ExecutorMixin:
    """What the two mixins share: building a template from the task's attributes.

    The task has `task_type`, and may have `task_type_version`, `name`, and `get_custom(settings)` or `task_config`.
    """

    task_type: str  # no default for the version: it would hide the one of flytekit's tasks, which come later in line

    def task_template(self) -> TaskTemplate:
        """Return the template that a deployed task of this kind would send."""
        get_custom = getattr(self, "get_custom", None)
        custom = get_custom(None) if get_custom is not None else getattr(self, "task_config", None)
        return TaskTemplate(
            id=Identifier(name=str(getattr(self, "name", type(self).__name__))),
            type=self.task_type,
            task_type_version=getattr(self, "task_type_version", 0),
            custom=dict_to_struct(custom) if isinstance(custom, Mapping) else None,
        )


class SyncConnectorExecutorMixin(_ExecutorMixin):
    """Gives a task whose connector is sync an `execute` that calls the connector's `do`."""

    def execute(self, **kwargs: Any) -> Any:
        """Run the task with these inputs, and return its outputs.

        Raises:
            FlyteConnectorNotFound: No connector is registered for the task's type.
            LocalExecutionFailed: The task failed.
        """
        if _is_flytekits(self):
            return _flytekit().execute_sync(self, kwargs)
        template, inputs = self.task_template(), to_literal_map(kwargs)
        with _output_folder() as prefix:
            return outputs_of(run_task(template, inputs, prefix), prefix)


class AsyncConnectorExecutorMixin(_ExecutorMixin):
    """Gives a task whose connector is async an `execute` that creates the job and follows it to its end."""

    def execute(self, **kwargs: Any) -> Any:
        """Run the task with these inputs, and return its outputs.

        Interrupting it (Ctrl-C) deletes the job, and waits for that.

        Raises:
            FlyteConnectorNotFound: No connector is registered for the task's type.
            LocalExecutionFailed: The task failed.
        """
        if _is_flytekits(self):
            return _flytekit().execute_async(self, kwargs)
        template, inputs = self.task_template(), to_literal_map(kwargs)
        with _output_folder() as prefix:
            return outputs_of(run_task(template, inputs, prefix), prefix)


def run_task(
    template: TaskTemplate,
    inputs: LiteralMap,
    prefix: str,
    *,
    label: str = "",
    timeout: float | None = None,
    stream: TextIO | None = None,
) -> admin.Resource:
    """Run a task on the process' node, show its progress, and return its last answer, whatever that is.

    Blocks, also inside of a running event loop. Interrupting it deletes the job, and waits for that.

    Args:
        template: What to run.
        inputs: What to run it with.
        prefix: The folder for its outputs; also what identifies the task.
        label: What to call it; the template's name unless given.
        timeout: Seconds after which its job is deleted, or its only call cancelled.
        stream: Where progress is shown; stderr unless given.

    Raises:
        FlyteConnectorNotFound: No connector is registered for its type.
        LocalTimeout: It took too long.
        Terminated: SIGTERM came, where nobody else handles it.
    """
    bound = ConnectorRegistry.default.get_bound(template.type, template.task_type_version)
    name = label or (template.id.name if template.id is not None else "") or template.type
    with sigterm_interrupts(), ctrl_c_interrupts(), Progress(name, stream) as progress:

        async def work(node: Node, run: LocalRun[admin.Resource]) -> admin.Resource:
            if bound.is_sync:
                return await _execute(node, bound, template, inputs, prefix, timeout)
            return await follow(node, template, inputs, prefix, progress, timeout, run)

        return local_node(bound).start(name, work).wait()


def outputs_of(resource: admin.Resource, prefix: str) -> dict[str, object]:
    """Return the outputs of a task that succeeded: from its answer, else from the file that it wrote.

    Raises:
        LocalExecutionFailed: It did not succeed.
    """
    if resource.phase is not Phase.SUCCEEDED:
        raise LocalExecutionFailed(resource)
    if resource.outputs is not None:
        return from_literal_map(resource.outputs)
    written = Path(prefix) / OUTPUTS_FILE
    return from_literal_map(decode_untrusted(LiteralMap, written.read_bytes())) if written.exists() else {}


async def _execute(
    node: Node,
    bound: Bound,
    template: TaskTemplate,
    inputs: LiteralMap,
    prefix: str,
    timeout: float | None,  # noqa: ASYNC109 - the task's, which is to end in its own way
) -> admin.Resource:
    """Run a task of a sync connector.

    Raises:
        LocalTimeout: It took longer than `timeout` seconds.
    """
    try:
        with trio.fail_after(float("inf") if timeout is None else timeout):
            answer = await node.hosts[bound.category].passage.execute(template, prefix, inputs)
    except trio.TooSlowError as error:
        raise LocalTimeout(timeout or 0.0, "its call was cancelled") from error
    header = answer.header or admin.ExecuteTaskSyncResponseHeader()
    return header.resource or admin.Resource()


async def follow(
    node: Node,
    template: TaskTemplate,
    inputs: LiteralMap,
    prefix: str,
    progress: Heard,
    timeout: float | None = None,  # noqa: ASYNC109 - the task's, which is to end in its own way
    run: LocalRun[admin.Resource] | None = None,
) -> admin.Resource:
    """Create a task on a running node and return its terminal answer; deletes the job when it is interrupted.

    Raises:
        LocalTimeout: It took longer than `timeout` seconds.
    """
    category = TaskCategory(template.type, template.task_type_version)
    request = admin.CreateTaskRequest(template=template, inputs=inputs, output_prefix=prefix)
    creating = node.tasks.CreateTask(request, _call("CreateTask"))
    try:
        with trio.fail_after(float("inf") if timeout is None else timeout):
            created = admin.CreateTaskResponse.parse(await _given(creating))
            if run is not None:
                run.job = created.resource_meta
            return await _until_terminal(node, category, created.resource_meta, progress)
    except BaseException as error:
        # The job is nobody's once this node is gone. Shielded, so that it is deleted in spite of the interruption.
        with trio.move_on_after(DELETE_SECONDS, shield=True) as patience:
            await _delete(node, category, prefix, run)
        if patience.cancelled_caught and run is not None:
            run.say_left_behind()
        if isinstance(error, trio.TooSlowError) and timeout is not None:
            raise LocalTimeout(timeout, "its job was deleted") from error
        raise


async def _until_terminal(node: Node, category: TaskCategory, meta: bytes, progress: Heard) -> admin.Resource:
    named = admin.TaskCategory(name=category.name, version=category.version)
    request = admin.GetTaskRequest(task_category=named, resource_meta=meta)
    last = b""
    while True:
        encoded = await _given(node.tasks.GetTask(request, _call("GetTask")))
        if encoded != last:
            last = encoded
            resource = admin.GetTaskResponse.parse(encoded).resource or admin.Resource()
            progress(resource)
            if resource.phase in TERMINAL:
                return resource
        await trio.sleep(READ_SECONDS)


async def _delete(node: Node, category: TaskCategory, prefix: str, run: LocalRun[admin.Resource] | None = None) -> None:
    """Delete the task that was created under an output prefix, and wait until its job is gone."""
    identity = identify(category, prefix, b"")
    entry = node.directory.current(identity.key) if identity is not None else None
    if entry is None or entry.phase in TERMINAL:
        return
    if run is not None:
        run.job_by_now = lambda: entry.state.meta or b""  # its create may still be under way
    node.hosts[category].tell(entry.task, DeleteAsked())
    while not _is_gone(node, entry):  # noqa: ASYNC110 - an entity tells nobody of its stages
        await trio.sleep(READ_SECONDS)


def _is_gone(node: Node, entry: Entry) -> bool:
    if node.directory.get(entry.task) is not entry:
        return True
    return node.hosts[entry.category].state(entry.task).stage is Stage.DELETED


async def _given(answer: bytes | Pending[bytes]) -> bytes:
    """Wait for what a handler promised."""
    if isinstance(answer, bytes):
        return answer
    arrived = trio.Event()
    answer.add_done_callback(lambda _: arrived.set())
    try:
        await arrived.wait()
    except trio.Cancelled:
        answer.withdraw()
        raise
    return answer.result()


def _call(method: str) -> Call:
    return Call(method=method, deadline=None, metadata={}, peer="local")


def _output_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="flytower-")


def _is_flytekits(task: object) -> bool:
    """Whether a task is one of flytekit's; without flytekit there is none."""
    base_task = sys.modules.get("flytekit.core.base_task")
    return base_task is not None and isinstance(task, base_task.PythonTask)


def _flytekit() -> Any:
    from flytower.actors import local_flytekit  # noqa: PLC0415 - flytekit is there, and only now is it needed

    return local_flytekit
