"""Removing secrets from texts that leave the process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "[secret]"

MIN_SECRET_CHARS = 4
"""Shorter values ("1", "no") are everywhere in ordinary text: masking them would destroy it and protect nothing."""


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Replace every occurrence of a secret in a text, also where it stands quoted or escaped.

    Args:
        text: An error message, a log line.
        secrets: The values of this request's secrets; those below `MIN_SECRET_CHARS` characters are left alone.
    """
    for form in sorted(_forms(secrets), key=len, reverse=True):  # a secret may contain another one
        text = text.replace(form, MASK)
    return text


def _forms(secrets: Iterable[str]) -> set[str]:
    """Return each secret as it is, and as `repr` and JSON would print it."""
    plain = {secret for secret in secrets if len(secret) >= MIN_SECRET_CHARS}
    return plain | {repr(secret)[1:-1] for secret in plain} | {json.dumps(secret)[1:-1] for secret in plain}
