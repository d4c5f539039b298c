"""What a start does without, because its import takes long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Later(Generic[T]):
    """Something that is imported when it is first used, in a thread: the event loop goes on meanwhile.

    Args:
        find: Imports and returns it. Several threads may do so at a time, as far as Python is concerned.
    """

    def __init__(self, find: Callable[[], T]) -> None:
        self._find = find
        self._found: T | None = None

    async def get(self) -> T:
        """Return it."""
        if self._found is None:
            self._found = await trio.to_thread.run_sync(self._find)
        return self._found
