"""Where in a nested value something is: for error messages, and for limits on nesting."""

from __future__ import annotations

from typing import NamedTuple

MAX_KEY_CHARACTERS = 40
"""How much of a key is shown. A key can be as long as a message."""


class ValuePath(NamedTuple):
    """A place inside a value, such as `inputs.rows[3]['name']`.

    Args:
        text: The place as a person reads it.
        depth: How many containers are around it.
    """

    text: str
    depth: int = 0

    def item(self, index: int) -> ValuePath:
        """Return the place of a list's item."""
        return ValuePath(f"{self.text}[{index}]", self.depth + 1)

    def key(self, key: object) -> ValuePath:
        """Return the place of a dict's value."""
        shown = repr(key)
        if len(shown) > MAX_KEY_CHARACTERS:
            shown = f"{shown[:MAX_KEY_CHARACTERS]}..."
        return ValuePath(f"{self.text}[{shown}]", self.depth + 1)

    def field(self, name: str) -> ValuePath:
        """Return the place of a dataclass's field."""
        return ValuePath(f"{self.text}.{name}", self.depth + 1)
