"""Whether two CreateTask requests ask for the same thing."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

from betterproto2 import Message

from flytower.actors.secrets import secrets_of
from flytower.protocol.received import received

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest
    from flytower.protocol.generated.flyteidl.core import TaskTemplate

_Digest: TypeAlias = "hashlib.blake2b"

FINGERPRINT_BYTES = 16
"""128 bits: it is compared with one other, for one key."""

TEMPLATES = 256
"""Templates whose digest is remembered: the tasks that a deployment runs at one time, several times over."""

LARGEST_TEMPLATE = 16 * 1024
"""Bytes of the largest template that is remembered: with `TEMPLATES`, 4 MiB in the worst case."""


def fingerprint(request: CreateTaskRequest, secrets: Collection[str] = ()) -> str:
    """Digest what the job is: its template and its inputs, but for these secrets, which may rotate between two tries.

    Not the bytes as they came, since Flyte's clients build maps in random order; and not the execution metadata,
    whose labels and annotations may change between two tries of the same attempt.
    """
    digest = _of_template(request.template, secrets)
    for piece in _pieces(request.inputs, secrets):
        digest.update(piece)
    return digest.hexdigest()


class Fingerprints:
    """Digests requests, and remembers what it has digested of templates: thousands of tasks share one.

    Only templates without secrets are remembered, so that no secret outlives its task.

    Args:
        limit: Templates to remember; the one that was used longest ago goes first.
        largest: Bytes beyond which a template is not remembered.
    """

    def __init__(self, limit: int = TEMPLATES, largest: int = LARGEST_TEMPLATE) -> None:
        self._limit = limit
        self._largest = largest
        self._templates: OrderedDict[bytes, _Digest] = OrderedDict()

    def __len__(self) -> int:
        return len(self._templates)

    def of(self, request: CreateTaskRequest) -> tuple[str, bool]:
        """Return the request's fingerprint, and whether its template carries secrets."""
        template = request.template
        encoded = received(template) if template is not None else b""
        known = self._templates.get(encoded)
        if known is None:
            secrets = secrets_of(template)
            if secrets:
                return fingerprint(request, secrets), True
            known = self._remember(encoded, _of_template(template, ()))
        else:
            self._templates.move_to_end(encoded)
        digest = known.copy()
        for piece in _pieces(request.inputs, ()):
            digest.update(piece)
        return digest.hexdigest(), False

    def _remember(self, encoded: bytes, digest: _Digest) -> _Digest:
        if len(encoded) <= self._largest:
            self._templates[encoded] = digest
            if len(self._templates) > self._limit:
                self._templates.popitem(last=False)
        return digest


def _of_template(template: TaskTemplate | None, secrets: Collection[str]) -> _Digest:
    digest = hashlib.blake2b(digest_size=FINGERPRINT_BYTES)
    for piece in _pieces(template, secrets):
        digest.update(piece)
    return digest


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
