"""The one error of the literals, and their limits."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from flytower.protocol.codec import MAX_DEPTH_READ, MAX_DEPTH_WRITTEN, CodecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flytower.protocol.value_path import ValuePath

MAX_MSGPACK_BYTES = 4 * 1024 * 1024
"""One packed value. It travels inside a message, and those end at 4 MiB."""

MAX_MSGPACK_CONTAINERS = 100_000
"""Lists and dicts in one packed value. Each takes one byte there and 60 here, so 4 MiB of them would become 250."""


class LiteralError(ValueError):
    """A value cannot be written as a literal, or a literal cannot be read as what was expected.

    Args:
        path: Where in the value the trouble is, such as "rows[3].when".
        problem: What the trouble is; it never contains the value.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


@contextmanager
def codec_errors_at(path: ValuePath) -> Iterator[None]:
    """Turn the codec's errors into LiteralErrors at this place."""
    try:
        yield
    except CodecError as error:
        raise LiteralError(path.text, error.problem) from error


def check_depth_written(path: ValuePath) -> None:
    """Refuse what the peers' decoders would refuse.

    Raises:
        LiteralError: The place is too deep inside the value; a value that contains itself ends here too.
    """
    if path.depth > MAX_DEPTH_WRITTEN:
        raise LiteralError(path.text, f"it is nested more than {MAX_DEPTH_WRITTEN} deep")


def check_depth_read(path: ValuePath) -> None:
    """Refuse what would exhaust the stack.

    Raises:
        LiteralError: The place is too deep inside the literal.
    """
    if path.depth > MAX_DEPTH_READ:
        raise LiteralError(path.text, f"it is nested more than {MAX_DEPTH_READ} deep")
