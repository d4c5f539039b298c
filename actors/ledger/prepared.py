"""Statements that are made into SQL once, and not for each commit, which saves a fifth of the CPU of a small one.

SQLAlchemy's types convert nothing here: what is written are plain strings, numbers and bytes, which both drivers take
as they are.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.engine import Connection, Dialect
    from sqlalchemy.sql.elements import ClauseElement


class Prepared:
    """One statement, in the SQL of one database.

    Args:
        statement: What SQLAlchemy calls it.
        dialect: The database's.
    """

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._sql: str = compiled.string
        names = compiled.positiontup  # None for a driver that takes parameters by name
        self._in_order = itemgetter(*names) if names else None

    def __repr__(self) -> str:
        return f"<Prepared {self._sql!r}>"

    def one(self, connection: Connection) -> tuple[Any, ...]:
        """Execute it, without parameters, and return its one row."""
        return tuple(connection.exec_driver_sql(self._sql).one())

    def execute_many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it for each row; there has to be one."""
        in_order = self._in_order
        connection.exec_driver_sql(self._sql, [in_order(row) for row in rows] if in_order else list(rows))
