"""A registered connector as the server calls it."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import trio

from flytower.connectors import (
    Bound,
    ConnectorContractError,
    ConnectorMethodNotImplemented,
    InvalidResource,
    JobNotFound,
    Policy,
    Resource,
    ResourceMetaError,
    TaskExecution,
    TaskTemplate,
)
from flytower.protocol.encode import encoded
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskExecutionPhase
from flytower.protocol.literals import from_literal_map, to_literal_map
from flytower.protocol.received import share
from tests.connectors.recording import META, Full, Meta, Recording, Sync, create


async def test_create_is_given_everything_and_its_metadata_comes_back_as_bytes() -> None:
    connector = Recording()
    assert await create(Bound(connector)) == META
    ((_, given),) = connector.calls
    assert given == {
        "task_template": TaskTemplate(type="recording"),
        "output_prefix": "s3://out",
        "inputs": LiteralMap(),
        "task_execution_metadata": None,
        "idempotency_key": "k",
    }


@pytest.mark.parametrize("leaves_it", [False, True])
async def test_a_template_that_tasks_share_is_given_to_a_connector_that_leaves_it_and_to_others_a_copy(
    *, leaves_it: bool
) -> None:
    connector = Recording()
    connector.shares_templates = leaves_it
    template = share(TaskTemplate(type="recording"))
    await Bound(connector).create(template, "s3://out", None, None, "k")
    ((_, given),) = connector.calls
    assert given["task_template"] == template
    assert (given["task_template"] is template) is leaves_it


async def test_a_create_in_the_signature_of_the_specification_gets_no_key() -> None:
    class Strict(Recording):
        async def create(  # type: ignore[override]  # the specification's signature has no **kwargs
            self, task_template: Any, output_prefix: Any, inputs: Any, task_execution_metadata: Any
        ) -> Any:
            return Meta(output_prefix)

    bound = Bound(Strict())
    assert not bound.capabilities.idempotency_key
    assert await create(bound) == b'{"job_id":"s3://out"}'


async def test_get_and_delete_are_given_the_decoded_metadata() -> None:
    connector = Recording()
    bound = Bound(connector)
    assert (await bound.get(META, output_prefix="s3://out")).phase is TaskExecution.RUNNING
    await bound.get(META)
    await bound.delete(META)
    assert connector.calls == [
        ("get", {"resource_meta": Meta("1"), "output_prefix": "s3://out"}),
        ("get", {"resource_meta": Meta("1")}),
        ("delete", {"meta": Meta("1")}),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        Resource(TaskExecution.RUNNING, "it runs"),
        Resource(TaskExecution.SUCCEEDED, outputs={"n": 1}),
        admin.Resource(phase=TaskExecution.FAILED, message="mine"),
    ],
)
async def test_a_status_is_what_get_gives_as_bytes(answer: Any) -> None:
    connector = Recording(get=answer)
    bound = Bound(connector)
    message = await bound.get(META)
    assert await bound.status(META) == (message.phase, encoded(message))
    assert connector.calls == [("get", {"resource_meta": Meta("1")})] * 2


async def test_find_gives_metadata_or_nothing() -> None:
    assert await Bound(Full(find=Meta("2"))).find("k") == b'{"job_id":"2"}'
    assert await Bound(Full(find=None)).find("k") is None


async def test_a_message_that_the_connector_made_itself_is_taken() -> None:
    message = admin.Resource(phase=TaskExecution.SUCCEEDED, message="mine")
    assert await Bound(Recording(get=message)).get(META) is message


async def test_a_synchronous_task_is_executed_in_one_call() -> None:
    resource = await Bound(Sync()).do(TaskTemplate(), "s3://out", None)
    assert resource.outputs is not None
    assert from_literal_map(resource.outputs) == {"prefix": "s3://out", "more": []}


async def test_plain_methods_share_the_threads_that_the_policy_allows() -> None:
    class Narrow(Recording):
        policy = Policy(thread_limit=1)
        at_once: ClassVar[list[int]] = []

        def get(self, resource_meta: Any, **kwargs: Any) -> Any:
            trio.from_thread.run(self.look)
            return Resource(TaskExecution.RUNNING)

        async def look(self) -> None:
            self.at_once.append(int(bound.limiter.borrowed_tokens))
            await trio.lowlevel.checkpoint()

    bound = Bound(Narrow())
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(bound.get, META)
    assert Narrow.at_once == [1] * 5


@pytest.mark.parametrize("answer", [None, "job-1", {"job_id": "1"}, Resource(TaskExecution.RUNNING)])
async def test_a_create_that_returns_no_metadata_is_the_authors_fault(answer: Any) -> None:
    with pytest.raises(ConnectorContractError, match="create of Recording returned a"):
        await create(Bound(Recording(create=answer)))


async def test_a_job_whose_metadata_cannot_be_encoded_is_deleted_again() -> None:
    """Nobody else could ever name it."""
    connector = Recording(create=Meta("x" * 100_000))
    with pytest.raises(ResourceMetaError):
        await create(Bound(connector))
    assert [name for name, _ in connector.calls] == ["create", "delete"]


async def test_the_first_error_is_the_one_to_hear_when_that_delete_fails_too() -> None:
    with pytest.raises(ResourceMetaError):
        await create(Bound(Recording(create=Meta("x" * 100_000), delete=SystemExit(1))))


@pytest.mark.parametrize("answer", [None, TaskExecution.RUNNING, META, {"phase": 2}])
async def test_a_get_that_returns_no_resource_is_the_authors_fault(answer: Any) -> None:
    with pytest.raises(ConnectorContractError, match="get of Recording returned a"):
        await Bound(Recording(get=answer)).get(META)
    with pytest.raises(ConnectorContractError, match="get of Recording returned a"):
        await Bound(Recording(get=answer)).status(META)


@pytest.mark.parametrize(
    "answer",
    [Resource(TaskExecution.UNDEFINED), Resource(99), admin.Resource(), admin.Resource(phase=TaskExecutionPhase(77))],  # type: ignore[arg-type]
)
async def test_a_phase_that_flyte_would_misread_never_leaves(answer: Any) -> None:
    with pytest.raises(InvalidResource):
        await Bound(Recording(get=answer)).get(META)


@pytest.mark.parametrize("phase", sorted(set(TaskExecutionPhase) - {TaskExecution.UNDEFINED}))
async def test_a_synchronous_task_must_end(phase: TaskExecutionPhase) -> None:
    bound = Bound(Sync(Resource(phase)))
    if phase in (3, 4, 5, 8):
        assert (await bound.do(TaskTemplate(), "", None)).phase is phase
    else:
        with pytest.raises(InvalidResource, match=phase.name or ""):
            await bound.do(TaskTemplate(), "", None)


async def test_what_an_author_raises_arrives() -> None:
    with pytest.raises(JobNotFound, match="gone"):
        await Bound(Recording(get=JobNotFound("gone"))).get(META)
    with pytest.raises(ConnectionError):
        await Bound(Recording(delete=ConnectionError("no"))).delete(META)


async def test_methods_that_are_not_there_say_so() -> None:
    bound = Bound(Recording())
    assert (bound.capabilities.metrics, bound.capabilities.logs, bound.capabilities.find) == (False, False, False)
    with pytest.raises(ConnectorMethodNotImplemented):
        await bound.metrics(META)
    with pytest.raises(ConnectorMethodNotImplemented):
        await bound.find("k")
    with pytest.raises(ConnectorMethodNotImplemented):
        await anext(bound.logs(META))


async def test_flytekits_way_of_not_having_a_method_is_understood() -> None:
    """There the methods are overridden, and raise NotImplementedError."""
    with pytest.raises(ConnectorMethodNotImplemented):
        await Bound(Full(get_metrics=NotImplementedError())).metrics(META)


async def test_the_methods_of_the_base_class_say_that_they_are_not_implemented() -> None:
    connector = Recording()
    for call in (connector.get_metrics, connector.get_logs, connector.find):
        with pytest.raises(NotImplementedError):
            call("x")


async def test_a_connector_of_the_other_kind_has_no_such_call() -> None:
    with pytest.raises(ConnectorMethodNotImplemented):
        await Bound(Sync()).get(META)
    with pytest.raises(ConnectorMethodNotImplemented):
        await Bound(Recording()).do(TaskTemplate(), "", None)
    with pytest.raises(ConnectorMethodNotImplemented):
        await create(Bound(Sync()))


async def test_literal_maps_go_through_unchanged() -> None:
    outputs = to_literal_map({"x": 1})
    resource = await Bound(Sync(Resource(TaskExecution.SUCCEEDED, outputs=outputs))).do(TaskTemplate(), "", None)
    assert resource.outputs is outputs
