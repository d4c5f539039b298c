"""Running flytekit's tasks locally, with flytekit's own serialization, type engine and file access. Imports flytekit.

The same steps as flytekit's executor mixins (flytekit/extend/backend/base_connector.py), on Flytower's task actors.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flyteidl.core import literals_pb2
from flytekit import FlyteContext, FlyteContextManager, PythonFunctionTask
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core import utils
from flytekit.core.context_manager import ExecutionState
from flytekit.core.type_engine import TypeEngine
from flytekit.exceptions.user import FlyteUserException
from flytekit.extend.backend.base_connector import ConnectorRegistry as FlytekitRegistry
from flytekit.extend.backend.utils import render_task_template
from flytekit.models.literals import LiteralMap
from flytekit.tools.translator import get_serializable

from flytower.actors.local import LocalTimeout, run_task
from flytower.actors.local_run import interrupt_all
from flytower.connectors.errors import FlyteConnectorNotFound
from flytower.connectors.flytekit.adapter import adapt
from flytower.connectors.flytekit.loading import registered_connectors
from flytower.connectors.flytekit.own_loop import OwnLoop
from flytower.connectors.registry import ConnectorRegistry
from flytower.protocol.generated.flyteidl import core
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flytower.protocol.generated.flyteidl import admin


_registering = threading.Lock()

_types: dict[str, Any] = {}  # by output prefix: the types of the outputs of what runs now on a sync connector

FlyteContextManager.add_signal_handler(interrupt_all)  # flytekit has Ctrl-C, whichever threads wait for a task


def execute_sync(task: Any, inputs: Mapping[str, Any]) -> LiteralMap:
    """Run a flytekit task of a sync connector; returns its outputs as flytekit's literals.

    Raises:
        FlyteUserException: The task failed.
    """
    context = FlyteContext.current_context()
    template = _template(task, context)
    prefix = context.file_access.get_random_remote_directory()
    literals = TypeEngine.dict_to_literal_map(context, dict(inputs), task.get_input_types())
    _types[prefix] = task.python_interface.outputs
    try:
        return _outputs(task, template, _run(task, template, literals, prefix), prefix)
    finally:
        del _types[prefix]


def execute_async(task: Any, inputs: Mapping[str, Any]) -> LiteralMap:
    """Run a flytekit task of an async connector; returns its outputs as flytekit's literals.

    Raises:
        FlyteUserException: The task failed, or took longer than its timeout.
    """
    context = FlyteContext.current_context()
    template = _template(task, context)
    prefix = context.file_access.get_random_remote_directory()
    if isinstance(task, PythonFunctionTask):
        literals = _write_inputs(task, context, dict(inputs), prefix)
        template = render_task_template(template, prefix)
    else:
        literals = TypeEngine.dict_to_literal_map(context, dict(inputs), task.get_input_types())
    return _outputs(task, template, _run(task, template, literals, prefix), prefix)


def _template(task: Any, context: FlyteContext) -> Any:
    settings = context.serialization_settings or SerializationSettings(ImageConfig.auto_default_image())
    return get_serializable(OrderedDict(), settings, task).template


def _write_inputs(task: Any, context: FlyteContext, inputs: dict[str, Any], prefix: str) -> LiteralMap:
    """Write the inputs where the task's container will look for them."""
    state = context.new_execution_state().with_params(mode=ExecutionState.Mode.TASK_EXECUTION)
    with FlyteContextManager.with_context(context.new_builder().with_execution_state(state)) as inner:
        literals = TypeEngine.dict_to_literal_map(inner, inputs, task.get_input_types())
        path = inner.file_access.get_random_local_path()
        utils.write_proto_to_file(literals.to_flyte_idl(), path)
        inner.file_access.put_data(path, f"{prefix}/inputs.pb")
    return literals


def _run(task: Any, template: Any, literals: LiteralMap, prefix: str) -> admin.Resource:
    _register(template.type, template.task_type_version)
    message = core.TaskTemplate.parse(template.to_flyte_idl().SerializeToString())
    inputs = core.LiteralMap.parse(literals.to_flyte_idl().SerializeToString())
    try:
        return run_task(message, inputs, prefix, label=task.name, timeout=_seconds(template.metadata.timeout))
    except (LocalTimeout, RpcError) as error:
        raise FlyteUserException(f"Failed to run the task {task.name} with error: {error}") from error


def _register(task_type: str, version: int) -> None:
    """See that there is a connector: Flytower's own, else flytekit's, whose code is the user's own here.

    All that flytekit has are registered at once, so that their tasks share a node.

    Raises:
        FlyteConnectorNotFound: Neither has one; flytekit's.
    """
    with _registering:
        if not _is_registered(task_type, version):
            FlytekitRegistry.get_connector(task_type, version)
            for theirs in registered_connectors():
                if not _is_registered(theirs.task_category.name, theirs.task_category.version):
                    ConnectorRegistry.register(_adapted(theirs))


def _is_registered(task_type: str, version: int) -> bool:
    try:
        ConnectorRegistry.get_connector(task_type, version)
    except FlyteConnectorNotFound:
        return False
    return True


def _adapted(theirs: Any) -> Any:
    """Return one of flytekit's, with a loop of its own: one that blocks holds up no other task, and no timeout."""
    return adapt(theirs, OwnLoop(theirs.task_category.name), pickled=True, types=_types.get)


def _outputs(task: Any, template: Any, resource: admin.Resource, prefix: str) -> LiteralMap:
    if resource.phase is not Phase.SUCCEEDED:
        raise FlyteUserException(f"Failed to run the task {task.name} with error: {resource.message}")
    if resource.outputs is not None:
        return LiteralMap.from_flyte_idl(literals_pb2.LiteralMap.FromString(bytes(resource.outputs)))
    if not template.interface.outputs:
        return LiteralMap({})
    context = FlyteContext.current_context()
    path = context.file_access.get_random_local_path()
    context.file_access.get_data(f"{prefix}/outputs.pb", path)
    return LiteralMap.from_flyte_idl(utils.load_proto_from_file(literals_pb2.LiteralMap, path))


def _seconds(timeout: timedelta | int | None) -> float | None:
    """Return a task's timeout in seconds; flytekit's 0 is none."""
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    return float(seconds) if seconds else None
