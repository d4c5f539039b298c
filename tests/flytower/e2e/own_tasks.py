"""A user's own file: flytekit's sensor and webhook tasks, which run locally on Flytower when its mixin comes first."""

import json
import os
import sys
from collections import OrderedDict
from collections.abc import Callable  # noqa: TC003 - a local annotation, as users import it
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit import workflow
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.extend.backend.base_connector import (
    AsyncConnectorBase,
    ConnectorRegistry,
    Resource,
    ResourceMeta,
    SyncConnectorBase,
)
from flytekit.extras.webhook import WebhookTask
from flytekit.sensor.file_sensor import FileSensor
from flytekit.tools.translator import get_serializable

from flytower import AsyncConnectorExecutorMixin, SyncConnectorExecutorMixin

SENDS: dict[str, Any] = {
    "url": os.environ["OWN_TASKS_URL"],
    "data": {"number": "{inputs.x}"},
    "dynamic_inputs": {"x": int},
    "show_data": True,
}


class Hook(SyncConnectorExecutorMixin, WebhookTask):  # type: ignore[misc]  # flytekit has no types
    """flytekit's webhook task."""


class Awaited(AsyncConnectorExecutorMixin, FileSensor):  # type: ignore[misc]  # likewise
    """flytekit's file sensor."""


class ListConnector(SyncConnectorBase):  # type: ignore[misc]  # likewise
    """A connector of flytekit's that returns plain values, whose type is the task's to say."""

    name = "List"

    def __init__(self) -> None:
        super().__init__(task_type_name="own_list")

    def do(self, inputs: Any, **_: Any) -> Resource:
        """Count."""
        length = inputs.literals["n"].scalar.primitive.integer
        if length < -1:
            sys.exit(4)
        if length < 0:
            raise ValueError("there is no such list")
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"o0": [float(n) for n in range(length)]})


ConnectorRegistry.register(ListConnector())


class Count(SyncConnectorExecutorMixin, PythonTask):  # type: ignore[misc]  # likewise
    """Its task."""

    def __init__(self) -> None:
        super().__init__("own_list", "count", None, interface=Interface(inputs={"n": int}, outputs={"o0": list[float]}))


class Whole(SyncConnectorBase):  # type: ignore[misc]  # likewise
    """A connector of flytekit's that says in which form it is given its input."""

    name = "Whole"

    def __init__(self) -> None:
        super().__init__(task_type_name="own_whole")

    def do(self, inputs: Any, **_: Any) -> Resource:
        """Say it."""
        scalar = inputs.literals["n"].scalar
        form = "union" if scalar.union is not None else "primitive"
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"o0": form})


ConnectorRegistry.register(Whole())


class Form(SyncConnectorExecutorMixin, PythonTask):  # type: ignore[misc]  # likewise
    """Its task, whose input is an integer or nothing."""

    def __init__(self) -> None:
        interface = Interface(inputs={"n": Optional[int]}, outputs={"o0": str})  # noqa: UP045 - as users write it
        super().__init__("own_whole", "form", None, interface=interface)


JOB = Path("job").resolve()


@dataclass
class ForEverMeta(ResourceMeta):  # type: ignore[misc]  # likewise
    """What names a job."""

    job: str


class ForEverConnector(AsyncConnectorBase):  # type: ignore[misc]  # likewise
    """A connector of flytekit's whose jobs go on until they are deleted, by a coroutine."""

    name = "For ever"

    def __init__(self, task_type: str = "own_for_ever") -> None:
        super().__init__(task_type_name=task_type, metadata_type=ForEverMeta)

    async def create(self, **_: Any) -> ForEverMeta:
        """Begin."""
        JOB.touch()
        return ForEverMeta(job="job")

    async def get(self, resource_meta: ForEverMeta, **_: Any) -> Resource:
        """Say that it runs."""
        return Resource(phase=TaskExecution.RUNNING, message=f"{resource_meta.job} runs")

    async def delete(self, resource_meta: ForEverMeta, **_: Any) -> None:
        """End."""
        JOB.unlink()


class PlainForEverConnector(ForEverConnector):
    """The same, deleted by a plain function."""

    name = "Plain for ever"

    def delete(self, resource_meta: ForEverMeta, **_: Any) -> None:  # type: ignore[override]  # as users may write it
        """End."""
        JOB.unlink()


ConnectorRegistry.register(ForEverConnector())
ConnectorRegistry.register(PlainForEverConnector("own_plain_for_ever"))


class ForEver(AsyncConnectorExecutorMixin, PythonTask):  # type: ignore[misc]  # likewise
    """Their tasks."""

    def __init__(self, task_type: str) -> None:
        super().__init__(task_type, task_type, None, interface=Interface(inputs={}, outputs={}))


count = Count()

awaited, hook = Awaited("awaited"), Hook("hook", **SENDS)


@workflow  # type: ignore[untyped-decorator]
def wait_and_call(path: str, x: int = 7) -> dict:  # type: ignore[type-arg]  # flytekit's type for any JSON
    """Wait for a file, and call a webhook."""
    awaited(path=path)
    return hook(x=x)  # type: ignore[no-any-return]


def templates() -> dict[str, str]:
    """Return the templates that flytekit's tasks, unchanged, would send."""
    settings = SerializationSettings(ImageConfig.auto_default_image())
    tasks = (FileSensor("awaited"), WebhookTask("hook", **SENDS))
    models = [get_serializable(OrderedDict(), settings, task).template for task in tasks]
    return {model.id.name: model.to_flyte_idl().SerializeToString().hex() for model in models}


def main(what: str, *args: str) -> None:
    """Do one thing, and print what comes out of it."""
    does: dict[str, Callable[..., Any]] = {
        "workflow": lambda path: wait_and_call(path=path),
        "count": lambda n: count(n=int(n)),
        "form": lambda: Form()(n=3),
        "run": lambda task_type: ForEver(task_type)(),
        "templates": templates,
    }
    json.dump(does[what](*args), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
