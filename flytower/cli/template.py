"""The template of a task that somebody describes on a command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flytower.protocol.codec import CodecError, dict_to_struct
from flytower.protocol.generated.flyteidl.core import Container, Identifier, LiteralMap, TaskTemplate, TypedInterface
from flytower.protocol.literal_types import variables_of
from flytower.protocol.literals import LiteralError, to_literal_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flytower.protocol.generated.flyteidl import admin


def template_and_inputs(
    name: str, category: admin.TaskCategory, args: Sequence[str], custom: dict[str, Any], inputs: dict[str, Any]
) -> tuple[TaskTemplate, LiteralMap]:
    """Return a task's template, whose interface declares the inputs that there are, and their literals.

    Raises:
        click.UsageError: A value has no place in a message of Flyte's.
    """
    try:
        literals = to_literal_map(inputs)
        template = TaskTemplate(
            id=Identifier(name=name),
            type=category.name,
            task_type_version=category.version,
            interface=TypedInterface(inputs=variables_of(literals)) if inputs else None,
            custom=dict_to_struct(custom) if custom else None,
            container=Container(args=list(args)) if args else None,
        )
    except (LiteralError, CodecError) as error:
        raise click.UsageError(str(error)) from None
    return template, literals
