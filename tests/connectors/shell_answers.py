"""What the tests of shell jobs read of their answers."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from flytower.protocol.literals import from_literal_map

if TYPE_CHECKING:
    from flytower.protocol.generated.flyteidl.admin import Resource


def outputs(resource: Resource) -> dict[str, Any]:
    """Return the outputs that there have to be."""
    assert resource.outputs is not None
    return from_literal_map(resource.outputs)


async def log_of(shell: Any, meta: bytes, token: str = "", lines: int = 0) -> tuple[str, list[str]]:
    """Return the token and the lines of a call of get_logs."""
    async with aclosing(shell.bound.logs(meta, token=token, lines=lines)) as stream:
        messages = [message async for message in stream]
    found = [line.message for message in messages if message.body for line in message.body.structured_lines]
    assert messages[0].header is not None
    return messages[0].header.token, found
