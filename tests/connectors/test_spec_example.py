"""The example of the specification runs with nothing but its imports changed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from flytower.connectors import ConnectorRegistry, TaskExecution, TaskTemplate
from flytower.protocol.generated.flyteidl.core import Identifier
from flytower.protocol.literals import from_literal_map, to_literal_map


@pytest.fixture
def example(restored_registry: None) -> ModuleType:
    """Return the example as a module. It is kept as a text, so that no tool ever puts it in order."""
    path = Path(__file__).with_name("spec_example.txt")
    module = ModuleType("spec_example")
    exec(compile(path.read_text(), path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - our own file
    return module


def template(task_type: str) -> TaskTemplate:
    return TaskTemplate(type=task_type, task_type_version=1, id=Identifier(name="the task"))


async def test_the_asynchronous_connector_creates_answers_and_deletes(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    bound = ConnectorRegistry.default.get_bound("my_async_task", 1)
    meta = await bound.create(template("my_async_task"), "s3://out", None, None, "key")
    assert meta == b'{"job_id":"job-123"}'
    resource = await bound.get(meta)
    assert resource.phase is TaskExecution.SUCCEEDED
    assert resource.message == "Job completed successfully"
    assert resource.outputs is not None
    assert from_literal_map(resource.outputs) == {"result": 42}
    running = await bound.get(b'{"job_id":"other"}')
    assert (running.phase, running.outputs) == (TaskExecution.RUNNING, None)
    await bound.delete(meta)
    assert capsys.readouterr().out.splitlines() == [
        "Creating external job for task: the task",
        "Checking status of external job: job-123",
        "Checking status of external job: other",
        "Deleting external job: job-123",
    ]


async def test_the_synchronous_connector_reads_its_input_and_answers(example: ModuleType) -> None:
    bound = ConnectorRegistry.default.get_bound("my_sync_task", 1)
    resource = await bound.do(template("my_sync_task"), "s3://out", to_literal_map({"input_key": 21}))
    assert resource.phase is TaskExecution.SUCCEEDED
    assert resource.outputs is not None
    assert from_literal_map(resource.outputs) == {"output_key": 42}


def test_both_are_found_and_listed_by_the_names_that_it_gives_them(example: ModuleType) -> None:
    assert isinstance(ConnectorRegistry.get_connector("my_async_task", 1), example.MyAsyncConnector)
    agent = ConnectorRegistry.get_connector_metadata("my_custom_sync_connector")
    assert agent.is_sync
    assert agent.supported_task_types == ["my_sync_task"]
    names = {agent.name for agent in ConnectorRegistry.list_connectors()}
    assert {"my_custom_async_connector", "my_custom_sync_connector"} <= names
