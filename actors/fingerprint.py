"""Whether two CreateTask requests ask for the same thing."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from betterproto2 import Message

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest

FINGERPRINT_BYTES = 16
"""128 bits: it is compared with one other, for one key."""


def fingerprint(request: CreateTaskRequest, secrets: Collection[str] = ()) -> str:
    """Digest what the job is: its template and its inputs, but for these secrets, which may rotate between two tries.

    Not the bytes as they came, since Flyte's clients build maps in random order; and not the execution metadata,
    whose labels and annotations may change between two tries of the same attempt.
    """
    digest = hashlib.blake2b(digest_size=FINGERPRINT_BYTES)
    for part in (request.template, request.inputs):
        for piece in _pieces(part, secrets):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(value: object, secrets: Collection[str]) -> Iterable[bytes]:
    """Yield the value's content, each part with its kind and length so that no two values look alike."""
    if isinstance(value, Message):
        yield b"{"
        for name in value.__dataclass_fields__:  # type: ignore[attr-defined]  # every generated message is a dataclass
            inner = getattr(value, name)
            if inner is not None and inner not in ([], {}):
                yield name.encode()
                yield from _pieces(inner, secrets)
        yield b"}"
    elif isinstance(value, dict):
        yield b"m%d" % len(value)
        for key in sorted(value, key=repr):
            yield from _pieces(key, secrets)
            yield from _pieces(value[key], secrets)
    elif isinstance(value, list):
        yield b"l%d" % len(value)
        for item in value:
            yield from _pieces(item, secrets)
    elif value in secrets:
        yield b"secret"
    else:
        content = value if isinstance(value, bytes) else repr(value).encode()
        yield b"%s%d:" % (type(value).__name__.encode(), len(content))
        yield content
