"""What the calls of entities do, in tests."""

from __future__ import annotations


async def five() -> int:
    return 5


async def boom() -> None:
    raise ValueError("boom")
