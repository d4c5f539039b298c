"""Whether two CreateTask requests ask for the same thing."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from betterproto2 import Message

from flytower.actors.secrets import secrets_of
from flytower.protocol.received import received, share, was_received

if TYPE_CHECKING:
    from collections.abc import Collection

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
    digest.update(_content(request.inputs, secrets))
    return digest.hexdigest()


class _Known(NamedTuple):
    """A template that was seen before, and what there is to know of it."""

    template: TaskTemplate
    digest: _Digest


class Fingerprints:
    """Digests requests, and remembers templates, and what it has digested of them: thousands of tasks share one.

    Only templates without secrets are remembered, so that no secret outlives its task.

    Args:
        limit: Templates to remember; the one that was used longest ago goes first.
        largest: Bytes beyond which a template is not remembered.
    """

    def __init__(self, limit: int = TEMPLATES, largest: int = LARGEST_TEMPLATE) -> None:
        self._limit = limit
        self._largest = largest
        self._templates: OrderedDict[bytes, _Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._templates)

    def known(self, encoded: bytes) -> TaskTemplate | None:
        """Return the template of an encoding that is remembered, for all to share and nobody to change."""
        known = self._templates.get(encoded)
        return known.template if known is not None else None

    def of(self, request: CreateTaskRequest) -> tuple[str, bool]:
        """Return the request's fingerprint, and whether its template carries secrets."""
        template = request.template
        encoded = received(template) if template is not None else b""
        known = self._templates.get(encoded)
        if known is not None:
            self._templates.move_to_end(encoded)
            digest = known.digest.copy()
        else:
            secrets = secrets_of(template)
            if secrets:
                return fingerprint(request, secrets), True
            digest = _of_template(template, ())
            if template is not None and was_received(template) and len(encoded) <= self._largest:
                self._remember(encoded, _Known(share(template), digest.copy()))
        digest.update(_content(request.inputs, ()))
        return digest.hexdigest(), False

    def _remember(self, encoded: bytes, known: _Known) -> None:
        self._templates[encoded] = known
        if len(self._templates) > self._limit:
            self._templates.popitem(last=False)


def _of_template(template: TaskTemplate | None, secrets: Collection[str]) -> _Digest:
    return hashlib.blake2b(_content(template, secrets), digest_size=FINGERPRINT_BYTES)


def _content(value: object, secrets: Collection[str]) -> bytes:
    """Return a value's content, each part with its kind and length so that no two values look alike."""
    pieces: list[bytes] = []
    _add_pieces(value, secrets, pieces)
    return b"".join(pieces)


def _add_pieces(value: object, secrets: Collection[str], pieces: list[bytes]) -> None:
    if isinstance(value, Message):
        pieces.append(b"{")
        for name, encoded in _names_of(type(value)):
            inner = getattr(value, name)
            if inner is not None and not (isinstance(inner, list | dict) and not inner):
                pieces.append(encoded)
                _add_pieces(inner, secrets, pieces)
        pieces.append(b"}")
    elif isinstance(value, dict):
        pieces.append(b"m%d" % len(value))
        for key in sorted(value, key=repr):
            _add_pieces(key, secrets, pieces)
            _add_pieces(value[key], secrets, pieces)
    elif isinstance(value, list):
        pieces.append(b"l%d" % len(value))
        for item in value:
            _add_pieces(item, secrets, pieces)
    elif value in secrets:
        pieces.append(b"secret")
    else:
        content = value if isinstance(value, bytes) else repr(value).encode()
        pieces.append(b"%s%d:" % (type(value).__name__.encode(), len(content)))
        pieces.append(content)


@functools.cache  # one entry per generated message type, of which there are some hundred
def _names_of(message_type: type[Message]) -> tuple[tuple[str, bytes], ...]:
    return tuple((field.name, field.name.encode()) for field in dataclasses.fields(message_type))  # type: ignore[arg-type]  # every generated message is a dataclass
