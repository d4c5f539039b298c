"""Which task a request is about: keys, places, and references, as pure functions.

flytepropeller has no idempotency protocol: a CreateTask whose reply was lost is sent again with the same identifiers,
and an attempt that was given up is followed by one whose output prefix ends in the next number. What follows is what
can be known from the identifiers alone.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flytower.connectors.category import TaskCategory

MAX_ATTEMPT_DIGITS = 9
"""Digits of an attempt's number; with more it is some other number, and would not fit a database's integer."""

KEY_BYTES = 16
"""128 bits: collisions are out of reach, and the hex form (32) fits the 64 characters that EC2 and Databricks allow."""

REFERENCE_PREFIX = b'{"flytower_task":'
"""How a reference starts. A connector's own metadata is JSON too, but none has this name as its first field."""

MAX_REFERENCE_BYTES = 256
"""A reference is some 60 bytes; anything much longer that starts like one is not ours."""


class Identity(NamedTuple):
    """The name of a task before its generation is known.

    Args:
        key: What two requests for the same task have in common.
        place: What the attempts of one task have in common; "" when the output prefix does not tell.
        attempt: The number of the attempt at that place; 0 when unknown.
    """

    key: str
    place: str
    attempt: int


def identify(category: TaskCategory, output_prefix: str, execution_id: bytes) -> Identity | None:
    """Identify the task of a CreateTask request; None when it says nothing that identifies it.

    Args:
        category: What the request is routed on.
        output_prefix: Where the outputs go: `<node directory>/<attempt>` in Flyte, unique for each attempt.
        execution_id: The encoded TaskExecutionIdentifier; b"" without one. Alone it does not identify a task: two map
            tasks number their sub-nodes alike.
    """
    if not output_prefix and not execution_id:
        return None
    parent, _, last = output_prefix.rstrip("/").rpartition("/")
    numbered = bool(parent) and last.isascii() and last.isdigit() and len(last) <= MAX_ATTEMPT_DIGITS
    scope = f"{category.name}\0{category.version}\0"
    return Identity(
        key=_digest(scope.encode(), output_prefix.encode(), b"\0", execution_id),
        place=_digest(scope.encode(), parent.encode()) if numbered else "",
        attempt=int(last) if numbered else 0,
    )


def task_id(key: str, generation: int) -> str:
    """Return the task's id, which is also the idempotency key that its connector is given.

    A DeleteTask frees the key, and what is created under it afterwards is another job: hence the generation.
    """
    return _digest(key.encode(), str(generation).encode())


def adopted_id(category: TaskCategory, meta: bytes) -> str:
    """Return the id of a task that is known by its resource_meta only."""
    return _digest(b"adopted", f"{category.name}\0{category.version}\0".encode(), meta)


def encode_reference(task: str) -> bytes:
    """Return a resource_meta that names the task itself, for when the connector's own is not there or not unique."""
    return REFERENCE_PREFIX + json.dumps(task).encode() + b"}"


def decode_reference_untrusted(meta: bytes) -> str | None:
    """Return the task id that a resource_meta names, or None when it is no reference."""
    if not meta.startswith(REFERENCE_PREFIX) or len(meta) > MAX_REFERENCE_BYTES:
        return None
    task = meta[len(REFERENCE_PREFIX) : -1].strip(b'"')
    hexadecimal = len(task) == 2 * KEY_BYTES and all(byte in b"0123456789abcdef" for byte in task)
    return task.decode() if hexadecimal and encode_reference(task.decode()) == meta else None


def _digest(*parts: bytes) -> str:
    return hashlib.blake2b(b"".join(parts), digest_size=KEY_BYTES).hexdigest()
