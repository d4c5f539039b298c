"""Which strings of a request must not appear in anything that is logged or answered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from flytower.protocol.codec import struct_to_dict

if TYPE_CHECKING:
    from flytower.protocol.generated.flyteidl.core import TaskTemplate

SUSPICIOUS = re.compile(
    r"secret|token|passw|credential|api_?key|access_?key|private_?key|authorization|cookie", re.IGNORECASE
)
"""Names under which people pass secrets in a task's configuration, its environment, or a request's headers."""

SHORTEST = 4
"""Characters below which a value is no secret worth hiding, and hiding it would blacken ordinary words."""


def secrets_of(template: TaskTemplate | None) -> frozenset[str]:
    """Return the values in a task template whose names say that they are secret."""
    if template is None:
        return frozenset()
    found = set(_suspects(struct_to_dict(template.custom))) if template.custom is not None else set()
    found.update(_suspects(template.config))
    container = template.container
    if container is not None:
        found.update(_suspects({pair.key: pair.value for pair in (*container.env, *container.config)}))
    return frozenset(value for value in found if len(value) >= SHORTEST)


def _suspects(values: Mapping[str, object]) -> Iterator[str]:
    for name, value in values.items():
        if SUSPICIOUS.search(name):
            yield from _strings(value)
        elif isinstance(value, Mapping):
            yield from _suspects(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, Mapping):
                    yield from _suspects(item)


def _strings(value: object) -> Iterator[str]:
    """Yield every string in a value: all that stands under a suspicious name is suspect."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
