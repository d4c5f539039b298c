"""Opening a ledger by its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.actors.ledger.memory import MemoryStore

if TYPE_CHECKING:
    from flytower.actors.ledger.store import Store


def open_store(url: str, *, wait: float = 0.0) -> Store:  # noqa: ARG001
    """Open a ledger."""
    if url.startswith("memory://"):
        return MemoryStore()
    from flytower.actors.ledger.sql import SqlStore  # noqa: PLC0415 - half a second that nobody else has to wait

    return SqlStore(url)  # type: ignore[return-value]
