"""Between the wire's messages and flytekit's models, by way of flyteidl's own classes. Imports flytekit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2, tasks_pb2
from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskExecutionMetadata, TaskTemplate

from flytower.connectors.flytekit.copies import copier
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.received import is_shared, received, share, worked_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flytower.connectors.flytekit.copies import Maker
    from flytower.protocol.generated.flyteidl import core


RESOURCES = 512
"""Resources that are remembered by their encoding: polls say the same again and again, and jobs the same as others."""

SMALL_RESOURCE = 1024
"""Bytes of the largest that is remembered, so that all of them are some megabytes. One with outputs is given once."""


def template_of(template: core.TaskTemplate) -> TaskTemplate:
    """Return flytekit's model of a task template, for the caller alone."""
    make = worked_out(template, _template_copier) if is_shared(template) else None
    return make() if make is not None else _new_template(template)


def _template_copier(template: core.TaskTemplate) -> Maker | None:
    return copier(_new_template(template))


def _new_template(template: core.TaskTemplate) -> TaskTemplate:
    return TaskTemplate.from_flyte_idl(tasks_pb2.TaskTemplate.FromString(received(template)))


def inputs_of(inputs: core.LiteralMap | None) -> LiteralMap:
    """Return flytekit's model of the inputs; an empty one for none, since flytekit's server tests for a message."""
    return LiteralMap.from_flyte_idl(
        literals_pb2.LiteralMap.FromString(received(inputs) if inputs is not None else b"")
    )


def metadata_of(metadata: admin.TaskExecutionMetadata | None) -> TaskExecutionMetadata:
    """Return flytekit's model of what Flyte says of an execution; as in flytekit, there always is one."""
    if metadata is None and _no_metadata is not None:
        return _no_metadata()
    encoded = received(metadata) if metadata is not None else b""
    return TaskExecutionMetadata.from_flyte_idl(agent_pb2.TaskExecutionMetadata.FromString(encoded))


_no_metadata = copier(TaskExecutionMetadata.from_flyte_idl(agent_pb2.TaskExecutionMetadata()))


def resource_at_once(answer: Any) -> admin.Resource:
    """Return the wire's message for a resource whose outputs are literals already, or that has none."""
    coroutine = answer.to_flyte_idl()
    try:
        coroutine.send(None)  # it is a coroutine for the type engine's sake only, which has nothing to do here
    except StopIteration as done:
        return _resource_of(done.value.SerializeToString())
    coroutine.close()
    raise RuntimeError("flytekit's Resource.to_flyte_idl has changed: it waits although there is nothing to convert")


def resource_in_thread(answer: Any, types: Mapping[str, Any] | None = None) -> admin.Resource:
    """Return the wire's message for a resource with plain values, by way of flytekit's type engine.

    Args:
        answer: The resource.
        types: The Python types of its outputs, where they are known; flytekit otherwise goes by the values.
    """
    if types is not None:
        context = FlyteContextManager.current_context()
        answer = replace(answer, outputs=TypeEngine.dict_to_literal_map(context, answer.outputs, type_hints=types))
        return resource_at_once(answer)
    loop = asyncio.SelectorEventLoop()  # by its name, whatever the policy says
    try:
        return _resource_of(loop.run_until_complete(answer.to_flyte_idl()).SerializeToString())
    finally:
        loop.close()


def _resource_of(encoding: bytes) -> admin.Resource:
    return _small_resource_of(encoding) if len(encoding) <= SMALL_RESOURCE else admin.Resource.parse(encoding)


@lru_cache(RESOURCES)
def _small_resource_of(encoding: bytes) -> admin.Resource:
    return share(admin.Resource.parse(encoding))


def logs_of(answer: Any) -> list[admin.GetTaskLogsResponse]:
    """Return the wire's messages for what get_logs returned: a response, or several."""
    answers = [answer] if isinstance(answer, agent_pb2.GetTaskLogsResponse) else list(answer)
    return [admin.GetTaskLogsResponse.parse(each.SerializeToString()) for each in answers]


def metrics_of(answer: Any) -> admin.GetTaskMetricsResponse:
    """Return the wire's message for what get_metrics returned."""
    return admin.GetTaskMetricsResponse.parse(answer.SerializeToString())
