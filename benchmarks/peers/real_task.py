"""A task as users write them, for a template as Flyte sends them. Imports flytekit."""

from __future__ import annotations

from collections import OrderedDict

from flytekit import Resources, task
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.tools.translator import get_serializable


@task(requests=Resources(cpu="1", mem="500Mi"), environment={"A": "b"}, retries=2)  # type: ignore[untyped-decorator]
def a_real_task(x: int, name: str, values: list[float]) -> dict[str, float]:
    """Do something with some inputs."""
    return {name: x * sum(values)}


def template(task_type: str) -> bytes:
    """Return its template as flytekit serializes it, for another type of task."""
    image = Image("default", "ghcr.io/org/image", "v1")
    settings = SerializationSettings(ImageConfig(image, [image]), project="p", domain="d", version="v")
    model = get_serializable(OrderedDict(), settings, a_real_task).template
    model._type = task_type
    encoded: bytes = model.to_flyte_idl().SerializeToString()
    return encoded
