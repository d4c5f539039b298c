"""What outlives the process: one row for each task, behind one interface."""

from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.service import Ledger
from flytower.actors.ledger.store import LedgerError, Store

__all__ = ["Ledger", "LedgerError", "MemoryStore", "Row", "Store"]
