"""Which schema a database has, found out without Alembic: a start that has nothing to migrate does not pay for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import String, column, inspect, select, table

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

NEWEST: Final = "0003"
"""The last of the migrations; a test holds it to what Alembic says."""

VERSIONS: Final = "alembic_version"
"""The table in which Alembic writes down what it has applied."""

_APPLIED: Final = select(column("version_num", String)).select_from(table(VERSIONS))


def is_current(engine: Engine) -> bool:
    """Whether a database has this version's schema. If not, `flytower.actors.ledger.migrate` knows what to do."""
    with engine.begin() as connection:
        if not inspect(connection).has_table(VERSIONS):
            return False
        return connection.execute(_APPLIED).scalars().all() == [NEWEST]
