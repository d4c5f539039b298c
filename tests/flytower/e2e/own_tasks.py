"""A user's own file: flytekit's sensor and webhook tasks, which run locally on Flytower when its mixin comes first."""

import json
import os
import sys
from collections import OrderedDict
from typing import Any

from flytekit import workflow
from flytekit.configuration import ImageConfig, SerializationSettings
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


if __name__ == "__main__":
    json.dump(wait_and_call(path=sys.argv[1]) if len(sys.argv) > 1 else templates(), sys.stdout)
