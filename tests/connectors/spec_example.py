# ruff: noqa
# fmt: off
"""The example of the specification as it stands there: only its imports were changed, and it was indented less."""

from flytower.connectors import AsyncConnectorBase, SyncConnectorBase, ResourceMeta, Resource, TaskCategory
from flytower.connectors import TaskTemplate
from flytower.connectors import LiteralMap
from flytower.connectors import TaskExecution
from typing import Optional, Dict, Any

# Define custom resource metadata for your external system
class MyExternalJobMeta(ResourceMeta):
    job_id: str

class MyAsyncConnector(AsyncConnectorBase):
    name = "my_custom_async_connector"

    def __init__(self):
        super().__init__(task_type_name="my_async_task", task_type_version=1, metadata_type=MyExternalJobMeta)

    async def create(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: Optional[LiteralMap],
        task_execution_metadata: Optional[Any],
        **kwargs,
    ) -> MyExternalJobMeta:
        # Logic to submit job to external system
        print(f"Creating external job for task: {task_template.id.name}")
        external_job_id = "job-123" # Replace with actual external job submission
        return MyExternalJobMeta(job_id=external_job_id)

    async def get(self, resource_meta: MyExternalJobMeta, **kwargs) -> Resource:
        # Logic to check status of external job
        print(f"Checking status of external job: {resource_meta.job_id}")
        # Simulate job completion
        if resource_meta.job_id == "job-123":
            return Resource(phase=TaskExecution.SUCCEEDED, message="Job completed successfully", outputs={"result": 42})
        return Resource(phase=TaskExecution.RUNNING, message="Job still running")

    async def delete(self, resource_meta: MyExternalJobMeta, **kwargs):
        # Logic to delete external job
        print(f"Deleting external job: {resource_meta.job_id}")

class MySyncConnector(SyncConnectorBase):
    name = "my_custom_sync_connector"

    def __init__(self):
        super().__init__(task_type_name="my_sync_task", task_type_version=1)

    async def do(
        self, task_template: TaskTemplate, output_prefix: str, inputs: Optional[LiteralMap] = None, **kwargs
    ) -> Resource:
        # Logic to execute synchronous task
        print(f"Executing sync task: {task_template.id.name}")
        input_value = inputs.literals["input_key"].scalar.primitive.integer
        result = input_value * 2
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"output_key": result})

from flytower.connectors import ConnectorRegistry

# Assuming MyAsyncConnector and MySyncConnector are defined
ConnectorRegistry.register(MyAsyncConnector())
ConnectorRegistry.register(MySyncConnector())
