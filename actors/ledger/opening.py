"""Opening a ledger by its URL.

The databases are imported only when one is opened: half a second that a server with a ledger in memory has no use for.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.store import LedgerError

if TYPE_CHECKING:
    from flytower.actors.ledger.store import Store

MEMORY = "memory://"
"""The URL of a ledger that ends with its server."""


def open_store(url: str, *, wait: float = 0.0) -> Store:
    """Open a ledger for the server that is to own it; its schema is brought up to date.

    Args:
        url: `memory://`, `sqlite:///path` or `postgresql://user@host/database`.
        wait: Seconds to wait for another server to give it up.

    Raises:
        LedgerError: It cannot be opened; the message says which it is, what is wrong, and what to do.
    """
    if url == MEMORY:
        return MemoryStore()
    from flytower.actors.ledger.ownership import OwnedStore

    return OwnedStore(url, wait=wait)


def open_to_read(url: str) -> Store:
    """Open a ledger beside the server that may own it, to read it and to leave commands. Nothing is made or upgraded.

    Raises:
        LedgerError: There is none, or it cannot be read.
    """
    if url == MEMORY:
        raise LedgerError("A ledger in memory can only be seen on its server's status page; name the ledger's URL.")
    from flytower.actors.ledger.database import is_sqlite, parse
    from flytower.actors.ledger.sql import SqlStore

    parsed = parse(url)
    if is_sqlite(parsed) and not Path(parsed.database or "").exists():
        raise LedgerError(f"There is no ledger {parsed.database}; start a server with it first, or name another.")
    return SqlStore(url, read=True)
