"""What helps to test what is written against Flytower.

`check_store` proves a ledger store of one's own against all that the server relies on; `check_connector` does the same
for a connector and the external system behind it.
"""

from __future__ import annotations

from flytower.actors.ledger.conformance import ConformanceError, OpenStore, Rule, check_store, rules
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.store import Action, Change, Command, LedgerError, LedgerLost, Store
from flytower.connectors.testing import check_connector

__all__ = [
    "Action",
    "Change",
    "Command",
    "ConformanceError",
    "LedgerError",
    "LedgerLost",
    "OpenStore",
    "Row",
    "Rule",
    "Store",
    "check_connector",
    "check_store",
    "rules",
]
